// The page of a panel: its bundle, the content security policy around it, the translations in it.
import { env, l10n, Uri, type Webview } from 'vscode';
import { randomBytes } from 'node:crypto';
import { panelHtml } from '../../webview/shared/page';

interface PanelPage {
  /** Of dist/webview: `charts` for charts.js and charts.css. */
  readonly bundle: string;
  readonly title: string;
}

/** Lets the webview read the bundles alone, and loads one. */
export function loadPage(webview: Webview, extension: Uri, { bundle, title }: PanelPage): void {
  const folder = Uri.joinPath(extension, 'dist', 'webview');
  webview.options = { enableScripts: true, localResourceRoots: [folder] };
  webview.html = panelHtml({
    script: webview.asWebviewUri(Uri.joinPath(folder, `${bundle}.js`)).toString(),
    style: webview.asWebviewUri(Uri.joinPath(folder, `${bundle}.css`)).toString(),
    cspSource: webview.cspSource,
    nonce: randomBytes(16).toString('base64url'),
    language: env.language,
    title,
    translations: texts(l10n.bundle),
  });
}

function texts(bundle: Record<string, unknown> | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(bundle ?? {}).flatMap(([key, value]): [string, string][] =>
      typeof value === 'string' ? [[key, value]] : [],
    ),
  );
}
