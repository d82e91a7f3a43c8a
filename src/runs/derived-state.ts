// What a reader makes of status.json: the file of a dead trainer still says `running`.
import { ownerLiveness, type Owner } from './owner';
import { needsOwner, STALE_AFTER, type DerivedState, type RunStatus } from './status';

/** The state to show: what the owner last wrote, unless the owner is gone. The two files cannot be read at one moment, so a
 *  `crashed` counts only when a second look finds it again.
 *  @param owner contents of owner.json, null where there is none. */
export function derivedState(status: RunStatus, owner: Owner | null, now: number): DerivedState {
  if (!needsOwner(status.state)) return status.state;
  if (owner === null) {
    // Between the run's creation and its trainer's first sign there is no owner; long after, there never will be. In all
    // other states the owner writes how it ended before it leaves, unless it cannot (a full disk).
    return status.state === 'starting' && now - status.heartbeat <= STALE_AFTER ? status.state : 'crashed';
  }
  switch (ownerLiveness(owner, status.heartbeat, now)) {
    case 'alive':
      return status.state;
    case 'dead':
      return 'crashed';
    case 'unknown':
      return 'stale';
  }
}
