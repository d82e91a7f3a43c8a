// What the native build says about this machine, asked once in a child process; and with what environment programs are started.
import { workspace } from 'vscode';
import { probeNative, type NativeProbe } from '../../launch/probe-native';
import { NATIVE_VARIABLE } from '../../launch/native-files';
import { setting } from '../settings';

export class EngineFacts {
  private probing: Promise<NativeProbe> | null = null;

  /** Settings changed, or the user has built in the meantime: the next question is asked anew. */
  forget(): void {
    this.probing = null;
  }

  /** Environment of trainers and probes: this process's, with the engine that the settings name. */
  environment(): NodeJS.ProcessEnv {
    const folder = setting('lrqat.nativeFolder');
    return folder === '' ? process.env : { ...process.env, [NATIVE_VARIABLE]: folder };
  }

  /** Node for trainers: the setting's, else the one (or the Electron) that runs this. */
  nodePath(): string {
    const set = setting('lrqat.nodePath');
    return set === '' ? process.execPath : set;
  }

  /** Only in trusted workspaces: loads the engine, in a process of its own. */
  probe(): Promise<NativeProbe> {
    this.probing ??= probeNative({ nodePath: this.nodePath(), environment: this.environment() });
    return this.probing;
  }

  /** null where the engine may not be loaded: in restricted mode. */
  async probeIfTrusted(): Promise<NativeProbe | null> {
    return workspace.isTrusted ? this.probe() : null;
  }
}
