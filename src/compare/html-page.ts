// A page in one HTML file, with nothing from outside and no script, so that it can be mailed and kept.
import { escapeHtml } from './svg';

export interface HtmlPage {
  readonly title: string;
  /** What is shown: sentences. */
  readonly about: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly version: string;
  readonly style: string;
  /** HTML of the content. */
  readonly sections: readonly string[];
}

export function htmlPage({ title, about, time, version, style, sections }: HtmlPage): string {
  const date = new Date(time).toISOString().slice(0, 16).replace('T', ' ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p class="about">${escapeHtml(about)} LR-QAT Studio ${escapeHtml(version)}, ${date} UTC.</p>
${sections.join('\n')}
</main>
</body>
</html>
`;
}
