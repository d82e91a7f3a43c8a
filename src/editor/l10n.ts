// Texts that people read, by way of VS Code's translations. The pure parts of the editor say their texts through this as well, so
// it must be usable where there is no VS Code (unit tests): there the English text serves.

type Translate = (message: string, ...args: (string | number | boolean)[]) => string;

const english: Translate = (message, ...args) =>
  message.replace(/\{(\d+)\}/g, (placeholder, index: string) => String(args[Number(index)] ?? placeholder));

let translate = english;

export const l10n = {
  /** `message` with `{0}`, `{1}`, … replaced, in the user's language where there is a translation. */
  t: (message: string, ...args: (string | number | boolean)[]): string => translate(message, ...args),
};

export function useTranslations(translator: Translate): void {
  translate = translator;
}
