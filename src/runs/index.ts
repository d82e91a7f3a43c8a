// Run directories: where they lie, what is in them, how they are written, read and controlled (docs/run-directory.md).
export * from './events';
export * from './layout';
export * from './status';
