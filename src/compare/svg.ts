// Pictures as values: a page makes elements of them, a report makes text.

export interface SvgNode {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly children: readonly (SvgNode | string)[];
}

export function node(
  tag: string,
  attributes: SvgNode['attributes'] = {},
  ...children: readonly (SvgNode | string | null)[]
): SvgNode {
  return { tag, attributes, children: children.filter((child) => child !== null) };
}

/** As text for a document; every text in it is escaped. */
export function svgText({ tag, attributes, children }: SvgNode): string {
  const written = Object.entries(attributes)
    .map(([name, value]) => ` ${name}="${escapeHtml(typeof value === 'number' ? round(value) : value)}"`)
    .join('');
  const inner = children.map((child) => (typeof child === 'string' ? escapeHtml(child) : svgText(child))).join('');
  return inner === '' ? `<${tag}${written}/>` : `<${tag}${written}>${inner}</${tag}>`;
}

/** For text and for attributes in double quotes. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}

/** A hundredth of a pixel is enough. */
export function round(value: number): string {
  return String(Math.round(value * 100) / 100);
}
