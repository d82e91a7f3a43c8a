// Everything that is said about an experiment file while it is open.
import type { Services } from '../services';
import { registerCodeLens } from './code-lens';
import { ExperimentDiagnostics } from './diagnostics';
import { registerJsonService } from './json-service';
import { registerQuickFixes } from './quick-fixes';

export function registerValidation(services: Services): ExperimentDiagnostics {
  const { context } = services;
  const diagnostics = new ExperimentDiagnostics(services);
  context.subscriptions.push(
    diagnostics,
    registerQuickFixes(diagnostics),
    registerCodeLens(diagnostics),
    registerJsonService(services),
  );
  return diagnostics;
}
