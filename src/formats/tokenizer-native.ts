// Opens the native encoder for a tokenizer, or says why the library must do the work.
import { createRequire } from 'node:module';
import path from 'node:path';
import { UserError, messageOf } from '../errors';
import type { BpeTokenizer, TokenizerAddon } from '../../native/binding/tokenizer';
import type { TokenizerSource } from './tokenizer-source';

export type NativeAttempt =
  { readonly encoder: BpeTokenizer; readonly reason: null } | { readonly encoder: null; readonly reason: string };

/** Switches of tokenizer_config.json that make @huggingface/tokenizers change the text before it is encoded. */
const TEXT_CHANGING = ['remove_space', 'do_lowercase_and_remove_accent'] as const;

export function openNativeTokenizer(source: TokenizerSource): NativeAttempt {
  if (source.addonFile === null) return { encoder: null, reason: 'the native build is not there' };
  for (const key of TEXT_CHANGING) {
    if (source.config[key] === true) return { encoder: null, reason: `tokenizer_config.json sets ${key}` };
  }
  const addon = loadAddon(source.addonFile);
  try {
    return { encoder: new addon.BpeTokenizer(source.tokenizerJson), reason: null };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'Unsupported') return { encoder: null, reason: messageOf(error) };
    throw new UserError('TokenizerInvalid', `${source.file}: ${messageOf(error)}`, { cause: error });
  }
}

function loadAddon(file: string): TokenizerAddon {
  const absolute = path.resolve(file);
  // `require` of a bundle knows no path outside of it.
  return createRequire(absolute)(absolute) as TokenizerAddon;
}
