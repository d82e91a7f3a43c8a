// States of a run in words.
import type { DerivedState } from '../../src/runs/status';
import { t } from './strings';

export function stateName(state: DerivedState): string {
  switch (state) {
    case 'queued':
      return t('Queued');
    case 'starting':
      return t('Starting');
    case 'running':
      return t('Running');
    case 'paused':
      return t('Paused');
    case 'stopping':
      return t('Stopping');
    case 'stopped':
      return t('Stopped');
    case 'finished':
      return t('Finished');
    case 'failed':
      return t('Failed');
    case 'crashed':
      return t('Crashed');
    case 'stale':
      return t('No sign of life');
  }
}
