// Texts in the user's language. Keys are the English texts, as in vscode.l10n: what has no translation is shown in English.

let translations: Readonly<Record<string, string>> = {};

/** Reads what the host has put into the page. */
export function loadTranslations(): void {
  const text = document.getElementById('translations')?.textContent ?? '{}';
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) return;
  translations = Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** `{0}`, `{1}` … stand for the arguments. */
export function t(text: string, ...values: readonly (string | number)[]): string {
  return (translations[text] ?? text).replaceAll(/\{(\d+)\}/g, (whole, index: string) =>
    String(values[Number(index)] ?? whole),
  );
}
