// Against the paper's recipe: what differs, with the paper's value a press away.
import { listed } from '../../src/experiment/allowed';
import { pathText } from '../../src/experiment/problem';
import { recipeDifferences, type RecipeDifference } from '../../src/experiment/recipe';
import type { Experiment } from '../../src/experiment/schema';
import { element, setAttributes, setText } from '../shared/dom';
import { button, setDisabled } from '../shared/toolkit';
import type { Json, Path } from './protocol';
import { text, titleOf } from './strings';
import { shownValue } from './values';

interface RecipeHost {
  readonly set: (path: Path, value: Json) => void;
  readonly focus: (id: string) => void;
}

export class RecipeView {
  readonly root: HTMLElement;
  private readonly count = element('p', { class: 'help' });
  private readonly list = element('ul', { class: 'recipe' });
  private key = '';

  constructor(private readonly host: RecipeHost) {
    this.root = element(
      'section',
      { class: 'card recipe-view', 'aria-label': text.recipe() },
      element('h2', {}, text.recipe()),
      this.count,
      this.list,
      element('p', { class: 'help source' }, text.recipeSource()),
    );
  }

  show(experiment: Experiment, disabled: boolean): void {
    const differences = differencesOf(experiment);
    const key = JSON.stringify([differences, disabled]);
    if (key === this.key) return;
    this.key = key;
    setText(this.count, differences.length === 0 ? text.recipeSame() : text.recipeCount(differences.length));
    setAttributes(this.root, { 'data-differences': differences.length });
    this.list.replaceChildren(...differences.map((difference) => this.item(difference, disabled)));
  }

  private item({ path, value, recipe, note }: RecipeDifference, disabled: boolean): HTMLElement {
    const id = pathText(path);
    const title = titleOf(id);
    const [main] = recipe;
    const use = button({
      look: 'secondary',
      label: text.recipeUse(title, shownValue(main)),
      text: text.use(),
      onClick: () => this.host.set(path, main as Json),
    });
    setDisabled(use, disabled);
    const link = element('a', { href: `#${id}`, class: 'jump' }, title);
    link.addEventListener('click', (event) => {
      event.preventDefault();
      this.host.focus(id);
    });
    return element(
      'li',
      { 'data-recipe': id },
      element(
        'div',
        { class: 'recipe-line' },
        link,
        element('span', { class: 'yours' }, shownValue(value)),
        element('span', { class: 'paper' }, text.recipePaper(listed(recipe.map(shownValue)))),
        use,
      ),
      element('p', { class: 'help' }, note),
    );
  }
}

function differencesOf(experiment: Experiment): RecipeDifference[] {
  try {
    return recipeDifferences(experiment);
  } catch (error) {
    // A section that is no section has no settings to compare.
    if (error instanceof TypeError) return [];
    throw error;
  }
}
