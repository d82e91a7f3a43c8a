// The page around a panel's bundle. Used by the hosts and by the tests, so that both run under the same content security policy.

export interface PageOptions {
  /** URIs of the panel's script and style sheet in dist/webview as the page may load them. */
  readonly script: string;
  readonly style: string;
  /** webview.cspSource. */
  readonly cspSource: string;
  /** Random, new for every page. */
  readonly nonce: string;
  /** vscode.env.language. */
  readonly language: string;
  readonly title: string;
  /** English text → text in the user's language (vscode.l10n.bundle); what is missing stays English. */
  readonly translations: Readonly<Record<string, string>>;
}

/** SHA-256 of nothing. The toolkit makes one empty style element and fills it through the object model. */
const EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";

/** No inline styles and no inline code: styles come from the style sheet and through the object model, code from the bundle. */
export function contentSecurityPolicy({ cspSource, nonce }: Pick<PageOptions, 'cspSource' | 'nonce'>): string {
  return [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src ${cspSource} ${EMPTY_STYLE}`,
    `img-src ${cspSource} data:`,
    `font-src ${cspSource}`,
  ].join('; ');
}

export function panelHtml(options: PageOptions): string {
  // Data, not code: `<` is escaped so that no text can end the element.
  const translations = JSON.stringify(options.translations).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="${escape(options.language)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escape(contentSecurityPolicy(options))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(options.title)}</title>
<link rel="stylesheet" href="${escape(options.style)}">
</head>
<body>
<div id="panel"></div>
<script type="application/json" id="translations">${translations}</script>
<script nonce="${escape(options.nonce)}" src="${escape(options.script)}"></script>
</body>
</html>
`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
