// The world thread: model headers, tokenizers and texts are read here, so that the extension host never waits for them.
import { parentPort } from 'node:worker_threads';
import { messageOf } from '../../errors';
import { askWorld } from './ask-world';
import { sampleWeights } from './sample-weights';
import type { SampleRequest, WorldQuestion, WorldReply, WorldRequest } from './world-protocol';

const port = parentPort;
if (port === null) throw new Error('world-worker.js runs as a thread only');

/** Waiting questions, oldest first; at most one a file. */
let waiting: WorldQuestion[] = [];
let busy = false;
const reply = (message: WorldReply): void => port.postMessage(message);

port.on('message', (request: WorldRequest) => {
  if (request.type === 'sample') void sample(request);
  else takeQuestion(request);
});

function takeQuestion(question: WorldQuestion): void {
  for (const old of waiting.filter(({ file }) => file === question.file)) reply({ type: 'superseded', id: old.id });
  waiting = [...waiting.filter(({ file }) => file !== question.file), question];
  if (!busy) void work();
}

/** Beside the questions: a slow check of a corpus must not keep a picture waiting. */
async function sample({ id, modelFolder, linear }: SampleRequest): Promise<void> {
  try {
    reply({ type: 'sample', id, sample: await sampleWeights(modelFolder, linear) });
  } catch (error) {
    reply({ type: 'failed', id, message: messageOf(error) });
  }
}

async function work(): Promise<void> {
  busy = true;
  for (let question = waiting.shift(); question !== undefined; question = waiting.shift()) {
    try {
      reply({ type: 'answer', ...(await askWorld(question)) });
    } catch (error) {
      reply({ type: 'failed', id: question.id, message: messageOf(error) });
    }
  }
  busy = false;
}
