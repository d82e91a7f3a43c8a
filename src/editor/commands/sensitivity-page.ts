// The page that `lrqat sensitivity --report` writes, for a webview. Pure.

/** With the theme's colours in place of its own, and with a policy of one style sheet. */
export function themed(page: string, nonce: string): string {
  return page
    .replace("style-src 'unsafe-inline'", `style-src 'nonce-${nonce}'`)
    .replace('<style>', `<style nonce="${nonce}">`)
    .replace('</style>', `${THEME}</style>`);
}

const THEME = `
:root, body { --text: var(--vscode-foreground); --muted: var(--vscode-descriptionForeground); --back: var(--vscode-editor-background); --hot: var(--vscode-charts-orange); --wide: var(--vscode-charts-blue); --line: var(--vscode-contrastBorder, var(--vscode-editorWidget-border)); }
body { font-family: var(--vscode-font-family); font-size: var(--vscode-font-size); }
`;
