// The form as a second editor of experiment files. Nothing of it is loaded before one is opened.
import { Uri, window, type CustomTextEditorProvider } from 'vscode';
import { FORM_EDITOR } from '../contributions';
import type { Services } from '../services';
import { experimentFileOf } from '../start/start-training';
import type { ExperimentDiagnostics } from '../validation/diagnostics';
import { showForm, showText } from './switch-editor';

export function registerForm(services: Services, diagnostics: ExperimentDiagnostics): void {
  const { context, register } = services;
  const provider: CustomTextEditorProvider = {
    async resolveCustomTextEditor(document, panel) {
      const { FormSession } = await import('./form-session');
      new FormSession(document, panel, services, diagnostics);
    },
  };
  context.subscriptions.push(
    window.registerCustomEditorProvider(FORM_EDITOR, provider, { supportsMultipleEditorsPerDocument: true }),
    register('lrqat.openForm', async (target) => {
      const file = await experimentFileOf(target, services);
      if (file !== undefined) await showForm(Uri.file(file));
    }),
    register('lrqat.openText', async (target) => {
      const file = await experimentFileOf(target, services);
      if (file !== undefined) await showText(Uri.file(file), null);
    }),
  );
}
