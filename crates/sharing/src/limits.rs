//! Periods, timeouts and bounds of sharing, in one place. All times are milliseconds of the process's own monotonic clock.

/// Interval between two beats of a worker.
pub const BEAT_MS: u64 = 2_000;
/// Time for which a beat must stay unchanged, on the observer's clock, before its worker counts as silent: three beats.
pub const SILENCE_MS: u64 = 6_000;
/// Time for which a beat must stay unchanged before its worker counts as late: two beats.
pub const LATE_MS: u64 = 4_000;
/// Interval between two reads of the rows beyond which the observer starts to count again: it has seen too little.
pub const OBSERVATION_GAP_MS: u64 = 3_000;
/// Interval between two beats of the leader.
pub const LEADER_BEAT_MS: u64 = 1_000;
/// Time for which the leader's beat must stay unchanged before another worker takes the lead.
pub const LEADER_SILENCE_MS: u64 = 5_000;
/// Additional delay before a worker that is no deputy takes the lead.
pub const NON_DEPUTY_DELAY_MS: u64 = 2_000;
/// Number of workers beside the leader that read all members.
pub const MAX_DEPUTIES: usize = 2;
/// Interval at which the leader and its deputies read all members, and the others read the leader's row.
pub const MEMBERS_READ_MS: u64 = 1_000;
/// Interval at which a worker reads its own row.
pub const OWN_ROW_READ_MS: u64 = 500;
/// Time without an acknowledged beat, from its sending, after which a worker holds its cameras.
pub const COURTESY_MS: u64 = 5_000;
/// Interval between two reports of the cost of each camera.
pub const LOADS_MS: u64 = 30_000;

/// Interval between two writes of a camera's item while the camera has no events.
pub const POSITION_MS: u64 = 20_000;
/// Maximum time for which an owner that hands its camera over waits for the sink before the final write.
pub const FINAL_SEND_MS: u64 = 300;
/// Time of ownership after which the item forgets that earlier owners died. A camera that kills its workers does so soon: its footage
/// is read again from the same position. Hosts that die for other reasons die less often than that.
pub const STRIKES_CLEAR_MS: u64 = 120_000;
/// Time of failing writes after which the table counts as away.
pub const TABLE_AWAY_MS: u64 = 2_000;
/// Shortest delay before a failed call is tried again; the jitter on top is up to three times as long.
pub const RETRY_MIN_MS: u64 = 50;
/// Longest delay before a failed call is tried again, without jitter.
pub const RETRY_MAX_MS: u64 = 2_000;

/// Number of pending records of a camera beyond which the camera waits.
pub const MAX_PENDING_RECORDS: usize = 32;
/// Bytes of pending records of a camera beyond which the camera waits. As all bytes here they are counted before a table packs them;
/// the JSON of records packs to a tenth.
pub const MAX_PENDING_BYTES: usize = 256 << 10;
/// Maximum number of records of one commit. All events of one frame are one commit, so it may exceed [`MAX_PENDING_RECORDS`].
pub const MAX_COMMIT_RECORDS: usize = 256;
/// Maximum bytes of the records of one commit. With [`MAX_CHECKPOINT_BYTES`] and packed, an item stays under DynamoDB's 400 KB.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;
/// Maximum bytes of a checkpoint.
pub const MAX_CHECKPOINT_BYTES: usize = 512 << 10;

/// Interval at which both sides of a hand-over read the item.
pub const HAND_OVER_READ_MS: u64 = 100;
/// Maximum time in which the next owner becomes ready. Longer than the start of a model, because a shorter one moves cameras in
/// circles.
pub const WARM_MS: u64 = 10_000;
/// Time of a hand-over after which the leader makes the next owner the owner by force.
pub const FORCE_MS: u64 = 15_000;
/// Interval at which the leader reads the items of cameras in a hand-over.
pub const MOVE_READ_MS: u64 = 500;
/// Interval in which the leader reads each item once, to correct its picture.
pub const AUDIT_MS: u64 = 300_000;
/// Time for which a new leader of a pool in which no camera has an owner waits for workers that start at the same time. The first
/// one would get all cameras, and only a twentieth of them moves within a minute for the sake of balance.
pub const FIRST_GRANTS_MS: u64 = 2_000;
/// Maximum number of grants and frees under way.
pub const MAX_GRANTS: usize = 16;
/// Maximum number of items in one read.
pub const MAX_ITEMS_PER_READ: usize = 100;
/// Maximum number of cameras that one draining worker hands over at once.
pub const MAX_DRAIN_MOVES: usize = 8;
/// Time without a leader after which a draining worker frees its cameras itself.
pub const DRAIN_ALONE_MS: u64 = 5_000;
/// Time after which the leader frees a camera that was removed from the configuration.
pub const REMOVED_MS: u64 = 60_000;
/// Number of owners in a row that may die with a camera before it is quarantined.
pub const MAX_STRIKES: u32 = 3;
/// Time for which a quarantined camera is granted to no worker.
pub const QUARANTINE_MS: u64 = 600_000;

/// Interval between two checks of the balance.
pub const BALANCE_MS: u64 = 10_000;
/// Difference between the highest and the mean share, in thousandths, up to which the cameras stay where they are.
pub const BALANCE_BAND: u32 = 150;
/// Number of checks in a row that must find the difference before cameras move.
pub const BALANCE_CHECKS: u32 = 3;
/// Maximum number of cameras that one worker gives or takes at once for the sake of balance.
pub const MAX_BALANCE_MOVES: usize = 4;
/// Interval between two cameras that a worker which does not keep up gives away. Its load is measured over a minute: all at once would
/// empty it, and overload the next one.
pub const OVERLOAD_MOVE_MS: u64 = 10_000;
/// Highest share of a worker, in thousandths of its usable capacity.
pub const MAX_SHARE: u32 = 1_200;
/// Difference of shares, in thousandths, within which two workers count as equal.
pub const SHARE_TIE: u32 = 50;
