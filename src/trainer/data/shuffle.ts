// The order of an epoch without a table: the swap-or-not shuffle (Hoang, Morris, Rogaway, CRYPTO 2012). Each round pairs every
// index x with k − x (mod n) and swaps the pair or not by one hash bit of it, which is a permutation of exactly [0, n) for any n
// and any hash; where an index goes is computed by itself. So a position in the data is just (seed, epoch, index): nothing to
// store, nothing to replay on resume, and no memory for corpora of any length. A Feistel network would need a power-of-four
// domain and cycle walking for the same.

/** Rounds: 6·log2(n) bring the shuffle within 1/n of uniform by the paper's bound; short orders get as many as n = 2^16, since
 *  there every bit of bias would show. */
function roundsFor(count: number): number {
  return 6 * Math.max(16, Math.ceil(Math.log2(count)));
}

/** Final mix of MurmurHash3: every input bit reaches every output bit. */
function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export class Shuffle {
  /** Of each round: what indices are paired around, and the key of its bits. */
  private readonly rounds: readonly { readonly pivot: number; readonly key: number }[];

  /** A permutation of [0, count), count up to 2^31, for this seed (uint32) and epoch. */
  constructor(
    private readonly count: number,
    seed: number,
    epoch: number,
  ) {
    let state = mix(seed ^ 0x9e3779b9);
    const draw = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      return mix(state ^ mix(epoch + 0x7f4a7c15));
    };
    this.rounds = Array.from({ length: roundsFor(count) }, () => {
      // 53 random bits: the remainder is uniform to within 2^-22.
      const pivot = (draw() * 2 ** 21 + (draw() >>> 11)) % count;
      return { pivot, key: draw() };
    });
  }

  /** Where index `i` of the order stands in the corpus. */
  at(i: number): number {
    let x = i;
    for (const { pivot, key } of this.rounds) {
      const partner = (pivot - x + this.count) % this.count;
      if ((mix(Math.max(x, partner) ^ key) & 1) === 1) x = partner;
    }
    return x;
  }
}
