// Tokenizers and corpora.
export { documents, type DocumentOptions, type TextRows } from './corpus-documents';
export { corpusFiles, type CorpusFile, type CorpusKind } from './corpus-files';
export type { Packing, TokenStream } from './token-stream';
export { tokenizeCorpus, type CorpusOptions, type TokenizeProgress } from './tokenize-corpus';
export { openTokenizer, type OpenTokenizerOptions, type TextTokenizer } from './tokenizer';
export { wikitextJoin } from './wikitext';
