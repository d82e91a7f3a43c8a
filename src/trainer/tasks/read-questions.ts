// The questions of a task from a local JSONL file, streamed and checked row by row.

import { createReadStream } from 'node:fs';
import { messageOf, systemErrorCode, UserError } from '../../errors';
import { TASKS, type Question, type TaskName } from './definitions';

/** @param limit questions at most; null: all
 *  @throws UserError TaskFile, naming file and line, for what is not a row of this task */
export async function readQuestions(task: TaskName, file: string, limit: number | null): Promise<Question[]> {
  const { layouts, title } = TASKS[task];
  const questions: Question[] = [];
  const input = createReadStream(file, 'utf8');
  let number = 0;
  try {
    for await (const line of linesOf(input)) {
      number++;
      if (line.trim() === '') continue;
      if (limit !== null && questions.length >= limit) break;
      const row = parseLine(line, `${file}:${String(number)}`);
      let question: Question | null = null;
      for (const layout of layouts) question ??= layout.question(row);
      if (question === null) {
        throw new UserError('TaskFile', `${file}:${String(number)}: not a row of ${title}`, {
          hint: `A row has the fields ${layouts.map(({ fields }) => fields).join('; or ')}.`,
        });
      }
      questions.push(question);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError('TaskFile', `${file}: cannot be read: ${systemErrorCode(error) ?? messageOf(error)}`, {
      cause: error,
    });
  } finally {
    input.destroy();
  }
  if (questions.length === 0) throw new UserError('TaskFile', `${file}: no questions in it`);
  return questions;
}

/** Ended by line feeds alone: other line ends of Unicode may stand inside a string of JSON, and readline would cut there. */
async function* linesOf(input: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of input) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}

function parseLine(line: string, place: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new UserError('TaskFile', `${place}: ${messageOf(error)}`, {
      hint: 'A .jsonl file has one JSON object a line.',
      cause: error,
    });
  }
}
