// Distillation: the float model is asked once, before the first step, about every sequence that training will see, and its answers
// lie in the run directory until the run is finished (teacher-file.ts).

import type { DistillationConfig, TeacherRows } from '../../native/binding/addon';
import { UserError } from '../errors';
import { distillationOf, formatBytes, teacherSequences } from '../experiment';
import { freeSpace } from '../formats/free-space';
import type { DrawnSequence, TrainingData } from './data/training-data';
import { isCancelled, type Session } from './session';
import { missingBytes, teacherFile, TeacherReader, TeacherWriter, type TeacherDescription } from './teacher-file';

/** Sequences of one call to the engine, at least a micro-batch. */
const CALL_SEQUENCES = 32;

/** What the float model gives for what training draws. */
export interface Teacher {
  rows(drawn: readonly DrawnSequence[]): Promise<TeacherRows>;
  close(): Promise<void>;
}

/**
 * The answers about all that training will see, asked for where they are not there yet. null: there is no distillation.
 * @throws StopRequested; what is known by then is kept. UserError DiskFull, NotFinite
 */
export async function openTeacher(session: Session, data: TrainingData): Promise<Teacher | null> {
  const { experiment, directory, writer } = session;
  const distillation = distillationOf(experiment);
  if (distillation === null) return null;
  const description = describe(session, data, distillation);
  const file = teacherFile(directory);
  let reader = await TeacherReader.open(file, description);
  if (reader === null) {
    await ask(session, data, description);
    reader = await TeacherReader.open(file, description);
    if (reader === null) throw new UserError('DamagedFile', `${file}: is not what was written a moment ago`);
  } else {
    await writer.log(`distillation: ${file} is there`);
  }
  const opened = reader;
  const { order } = description;
  return {
    rows: (drawn) => opened.read(drawn.map((sequence) => placeOf(sequence, order))),
    close: () => opened.close(),
  };
}

/** Every sequence of the text where training sees each at least once, else those that it sees, in its order. */
function describe(
  { experiment, model, baseDigest }: Session,
  data: TrainingData,
  { topK, temperature }: DistillationConfig,
): TeacherDescription {
  const sequences = teacherSequences(experiment.training, data.sequences);
  return {
    sequences,
    sequenceLength: experiment.data.sequenceLength,
    topK,
    temperature,
    vocabSize: model.shape.vocabSize,
    order: sequences === data.sequences ? 'corpus' : 'training',
    seed: experiment.training.seed,
    data: data.state().identity,
    base: baseDigest,
  };
}

function placeOf({ epoch, position, index }: DrawnSequence, order: TeacherDescription['order']): number {
  if (order === 'corpus') return index;
  if (epoch > 0) throw new RangeError(`sequence ${String(position)} of epoch ${String(epoch)} was not asked about`);
  return position;
}

async function ask(session: Session, data: TrainingData, description: TeacherDescription): Promise<void> {
  const { experiment, engine, desk, writer, fileSystem, directory } = session;
  const { sequences, order } = description;
  await requireSpace(directory, description);
  const { microBatchSize } = experiment.training;
  const step = microBatchSize * Math.max(1, Math.floor(CALL_SEQUENCES / microBatchSize));
  const file = await TeacherWriter.open(fileSystem, directory, description, step);
  let isClosed = false;
  try {
    const kept = file.written;
    await writer.log(
      `distillation: asking the float model about ${String(sequences)} sequences` +
        (kept === 0 ? '' : `, ${String(kept)} of which it has answered before`),
    );
    writer.update({ phase: 'distillation: asking the float model', progress: { done: kept, total: sequences } });
    const begun = performance.now();
    const inFirstEpoch = data.firstEpoch();
    while (file.written < sequences) {
      await desk.point();
      const first = file.written;
      const count = Math.min(step, sequences - first);
      const batch = data.batch(
        Array.from({ length: count }, (_, i) => ({
          index: order === 'corpus' ? first + i : inFirstEpoch(first + i),
        })),
      );
      let rows: TeacherRows;
      try {
        rows = await engine.teach(batch);
      } catch (error) {
        // Interrupted for a pause or a stop, which the next point answers.
        if (!isCancelled(error)) throw error;
        continue;
      }
      requireFinite(rows, session.model.folder);
      await file.add(rows);
      writer.update({ progress: { done: file.written, total: sequences } });
    }
    isClosed = true;
    await file.finish();
    await writer.log(
      `distillation: the float model has answered in ${((performance.now() - begun) / 1000).toFixed(1)} s`,
    );
    writer.update({ phase: null, progress: null });
  } finally {
    if (!isClosed) await file.close();
  }
}

/** @throws UserError DiskFull */
async function requireSpace(directory: string, description: TeacherDescription): Promise<void> {
  const needed = await missingBytes(directory, description);
  const free = await freeSpace(directory);
  if (free === null || needed <= free) return;
  throw new UserError(
    'DiskFull',
    `training.distillation: what it keeps of the float model takes ${formatBytes(needed)} in ${directory}, ${formatBytes(free)} are free`,
    { hint: `A smaller training.distillation.topK than ${String(description.topK)} needs less; so do fewer steps.` },
  );
}

/** @throws UserError NotFinite */
function requireFinite({ logProbabilities }: TeacherRows, folder: string): void {
  // Rounding may lift the share of a token that has all a little above 1; a rest of nothing is minus infinity.
  if (logProbabilities.every((value) => value <= 1e-3)) return;
  throw new UserError('NotFinite', `${folder}: the model with its own weights gives logits that are not finite`, {
    hint: 'The checkpoint is damaged or was saved from a diverged run, so there is nothing to distil from.',
  });
}
