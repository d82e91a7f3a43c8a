// Elements without markup in strings: nothing that comes from a file can become an element.

type Child = Node | string | null;

/** Attributes; false and null leave one out, true sets it empty. */
type Attributes = Readonly<Record<string, string | number | boolean | null>>;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  setAttributes(made, attributes);
  append(made, children);
  return made;
}

export function svg(tag: string, attributes: Attributes = {}, ...children: readonly Child[]): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  setAttributes(made, attributes);
  append(made, children);
  return made;
}

export function setAttributes(target: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) target.removeAttribute(name);
    else {
      const text = value === true ? '' : String(value);
      // An unchanged attribute is not written, so that observers and screen readers see changes only.
      if (target.getAttribute(name) !== text) target.setAttribute(name, text);
    }
  }
}

/** Sets the text only where it differs, for the same reason. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function append(target: Element, children: readonly Child[]): void {
  for (const child of children) if (child !== null) target.append(child);
}
