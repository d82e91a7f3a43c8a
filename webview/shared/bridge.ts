// The one door to the host. What comes in is checked against the panel's contract before anything acts on it; what is kept over
// reloads is checked when it is taken up again.
import { dispatch, type CommandType, type Handler } from './messages';

interface VsCodeApi {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  getState(): unknown;
  setState(state: unknown): void;
}

declare function acquireVsCodeApi(): VsCodeApi;

export class Bridge<State> {
  private readonly api = acquireVsCodeApi();

  /** @param checkState gives null for what is no state of this panel. */
  constructor(private readonly checkState: (value: unknown) => State | null) {}

  get state(): State | null {
    return this.checkState(this.api.getState());
  }

  save(state: State): void {
    this.api.setState(state);
  }

  send<Params>(type: CommandType<Params>, params: Params): void {
    this.api.postMessage(type.of(params));
  }

  /** @param malformed gets a sentence about each message that is not of the contract. */
  receive(handlers: readonly Handler[], malformed: (problem: string) => void): void {
    window.addEventListener('message', (event: MessageEvent<unknown>) => {
      const problem = dispatch(event.data, handlers);
      if (problem !== null) malformed(problem);
    });
  }
}
