// How long things take, for the estimate of what is left. Steps of one run take alike long, so a short memory is enough.

export class Pace {
  private begun: number | null = null;
  private step: number | null = null;
  private evaluation = 0;

  /** @param now seconds, from any origin. */
  constructor(private readonly now: () => number = () => performance.now() / 1000) {}

  stepBegins(): void {
    this.begun = this.now();
  }

  /** Seconds of the step that began last. */
  stepEnds(): number {
    const seconds = this.now() - (this.begun ?? this.now());
    this.begun = null;
    this.step = this.step === null ? seconds : 0.9 * this.step + 0.1 * seconds;
    return seconds;
  }

  stepInterrupted(): void {
    this.begun = null;
  }

  /** What one evaluation took. */
  evaluated(seconds: number): void {
    this.evaluation = seconds;
  }

  /** Seconds until the running step will probably end; 0 outside of steps and during the first. */
  secondsToStepEnd(): number {
    if (this.begun === null || this.step === null) return 0;
    return Math.max(0, this.begun + this.step - this.now());
  }

  /** null before the first step. */
  secondsLeft(steps: number, evaluations: number): number | null {
    return this.step === null ? null : steps * this.step + evaluations * this.evaluation;
  }
}
