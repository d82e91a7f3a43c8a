// The numbers behind a picture, for who cannot or would rather not read the picture.
import { element } from './dom';

export interface TableContent {
  readonly columns: readonly { readonly label: string; readonly numeric: boolean }[];
  readonly rows: readonly (readonly string[])[];
}

export function dataTable(caption: string, { columns, rows }: TableContent): HTMLTableElement {
  const kind = (numeric: boolean) => ({ class: numeric ? 'numeric' : null });
  return element(
    'table',
    { class: 'data' },
    element('caption', {}, caption),
    element(
      'thead',
      {},
      element(
        'tr',
        {},
        ...columns.map(({ label, numeric }) => element('th', { scope: 'col', ...kind(numeric) }, label)),
      ),
    ),
    element(
      'tbody',
      {},
      ...rows.map((row) =>
        element(
          'tr',
          {},
          ...row.map((cell, at) => {
            const numeric = columns[at]?.numeric === true;
            return at === 0
              ? element('th', { scope: 'row', ...kind(numeric) }, cell)
              : element('td', kind(numeric), cell);
          }),
        ),
      ),
    ),
  );
}
