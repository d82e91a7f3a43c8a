// Where a long text may be cut so that the ids of the parts are the ids of the text. A cut is judged by the two code
// points x|y around it alone, so that it holds whatever stands further away, in this chunk of the file or in another.
//
// ADDED TOKENS are found first, from left to right, the longest at each place. When no token has x and y side by side,
// no occurrence spans the cut, so the search over the left part finds the same tokens, arrives exactly at the cut, and
// goes on as it would at the start of the right part. When no token ends in x and none begins with y, the cut is
// inside a section (the text between two tokens): the right part is a continuation, without what is put before a
// section, and the left part may look at y as the pattern does in the whole text.
//
// BYTE-LEVEL tokenizers: the patterns never look back, so words to the right of a word border do not depend on what is
// to the left of it; and the left part sees y, which is as far as any alternative looks ahead: (?!\S) one code point,
// runs of a class one code point beyond their end. It remains that a word ends at the cut, that is, that no
// alternative matches "...xy...". Two cases are used:
//
// x is not white space, y is a space. A space stands only at the start of a word, as in " ?\p{L}+" and
// "[^\r\n\p{L}\p{N}]?\p{L}+", or in words of white space alone; "[\r\n]*" does not match it. So no word has a space
// after something else.
//
// x is \n, y is not white space. \n stands in words of white space alone or at the end of "[^\s\p{L}\p{N}]+[\r\n]*";
// the optional first character of a word excludes it. So no word goes on after \n with anything but white space.
//
// A Digits step cuts between digits and the rest first; that only adds word borders, and the piece to the left of the
// cut is seen up to y, which tells where it ends. With NFC the pattern sees composed text: y is no code point that
// composing may change or join to what stands before it, so the two sides are composed apart; \n stays, what is not
// white space does not become white space, and what y may become with marks after it is not white space either, which
// is all that is asked of it. fuse_unk would join unknown bytes over word borders: with it there are no split points.
//
// METASPACE tokenizers merge a whole section as one word. A merge across the cut makes a piece with x and y (spaces as
// U+2581) side by side inside. When no product of the merge table has that pair, no such merge exists, in whatever
// order the others are made; the two sides then never touch each other's pairs, and since each side takes its own
// pairs by rank and place, merging them apart gives the same pieces. The same argument cuts sections into words for
// the cache (encoder.cpp). fuse_unk joins neighbouring unknown pieces: y must be in the vocabulary, and the piece that
// begins with it must not be the unknown token itself.
//
// Added tokens of normalized text have no space but the U+2581 before them. Under the conditions above for them as
// written, none spans the cut, and neither part begins or ends with what could be taken for one as a whole; one that
// begins at the cut does so with its U+2581 = y, in the right part as in the whole.
#include "tokenizer/encoder.h"
#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

bool Encoder::mergesAcross(char32_t left, char32_t right) const {
  const auto marked = [](char32_t codePoint) { return codePoint == ' ' ? kMetaspace : codePoint; };
  return productPairs_.find(uint64_t{marked(left)} << 32 | marked(right)) != nullptr;
}

bool Encoder::isSplitPoint(char32_t left, char32_t right) const {
  if (addedTokens_.hasPair(left, right) || addedTokens_.endsWith(left) || addedTokens_.startsWith(right)) return false;
  if (config_.byteLevel) {
    if (config_.fuseUnknown && unknownId_ >= 0) return false;
    if (config_.byteLevel->compose && (classes_(right) & kMayChange) != 0) return false;
    const bool leftIsSpace = (classes_(left) & kWhiteSpace) != 0;
    const bool rightIsSpace = (classes_(right) & kWhiteSpace) != 0;
    return (!leftIsSpace && right == ' ') || (left == '\n' && !rightIsSpace);
  }
  if (normalizedTokens_.hasPair(left, right) || normalizedTokens_.endsWith(left) ||
      normalizedTokens_.startsWith(right)) {
    return false;
  }
  if (mergesAcross(left, right)) return false;
  return !config_.fuseUnknown || (characterPiece(right) != kNoPiece && right != unknownFirst_);
}

size_t Encoder::lastSplit(std::string_view text) const {
  const auto previousStart = [&](size_t at) {
    do --at;
    while (at > 0 && isContinuation(text[at]));
    return at;
  };
  if (text.empty()) return 0;
  size_t at = previousStart(text.size());
  while (at > 0) {
    const size_t before = previousStart(at);
    if (isSplitPoint(decodeAt(text, before).value, decodeAt(text, at).value)) return at;
    at = before;
  }
  return 0;
}

}  // namespace lrqat::tokenizer
