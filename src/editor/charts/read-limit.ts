/** Bytes of a run's file that the charts' host reads in one go: some thousand events, a few dozen milliseconds. */
export const READ_LIMIT = 1024 * 1024;
