// What must be disposed of, whatever class it has.

export interface Owned {
  dispose(): unknown;
}

export function disposeAll(owned: readonly Owned[]): void {
  for (const each of owned) each.dispose();
}
