// The environment of processes that are started from here, also out of an editor.

/** Of VS Code's and Electron's processes, of a debugger, or of Node's channel to a parent: wrong or harmful in a child that is to
 *  live on its own. */
const DROPPED =
  /^(VSCODE_.*|ELECTRON_.*|NODE_OPTIONS|NODE_CHANNEL_FD|NODE_CHANNEL_SERIALIZATION_MODE|NODE_UNIQUE_ID)$/i;

/** @param asNode this program's executable is Electron and is to behave as Node */
export function childEnvironment(
  environment: NodeJS.ProcessEnv = process.env,
  asNode = process.versions['electron'] !== undefined,
): NodeJS.ProcessEnv {
  const kept = Object.entries(environment).filter(([name]) => !DROPPED.test(name));
  return {
    ...Object.fromEntries(kept),
    // Threads without work sleep: a paused run must not spin. Their number is the engine's choice. Not even a short spin
    // (GOMP_SPINCOUNT) is set: where other programs want the cores too, it keeps the thread that is waited for from running
    // (docs/measurements/2026-11-24-cpu.md).
    OMP_WAIT_POLICY: 'passive',
    ...(asNode ? { ELECTRON_RUN_AS_NODE: '1' } : {}),
  };
}
