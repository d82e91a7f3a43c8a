// Typed messages between a panel and its host. A panel's protocol.ts declares each message once, with its check, and both ends
// import it: senders are checked by the compiler, receivers by the compiler and at run time.
import { CheckError, object, string, type Check } from './check';

/** What goes over the channel. */
export interface Message<Params = unknown> {
  readonly method: string;
  readonly params: Params;
}

export interface MessageType<Params> {
  readonly method: string;
  readonly check: Check<Params>;
  /** The message to send. */
  readonly of: (params: Params) => Message<Params>;
}

/** Panel → host: please do this. */
export interface CommandType<Params> extends MessageType<Params> {
  readonly direction: 'command';
}

/** Host → panel: this is how things stand. */
export interface NotificationType<Params> extends MessageType<Params> {
  readonly direction: 'notification';
}

function messageType<Params>(method: string, check: Check<Params>): MessageType<Params> {
  return { method, check, of: (params) => ({ method, params }) };
}

export function command<Params>(method: string, check: Check<Params>): CommandType<Params> {
  return { ...messageType(method, check), direction: 'command' };
}

export function notification<Params>(method: string, check: Check<Params>): NotificationType<Params> {
  return { ...messageType(method, check), direction: 'notification' };
}

export interface Handler {
  readonly method: string;
  readonly receive: (params: unknown) => void;
}

/** A handler whose parameter is inferred from the message's type, and checked before it is called. */
export function on<Params>(type: MessageType<Params>, handle: (params: Params) => void): Handler {
  return { method: type.method, receive: (params) => handle(type.check(params, type.method)) };
}

const envelope = object({ method: string });

/** Gives a received message to its handler. Returns null, or what was wrong with the message (for the log). Errors that the
 *  handler itself throws are the caller's. */
export function dispatch(message: unknown, handlers: readonly Handler[]): string | null {
  try {
    const { method } = envelope(message, 'message');
    const handler = handlers.find((each) => each.method === method);
    if (handler === undefined) return `unknown message ${JSON.stringify(method)}`;
    handler.receive((message as Message).params);
    return null;
  } catch (error) {
    if (error instanceof CheckError) return error.message;
    throw error;
  }
}
