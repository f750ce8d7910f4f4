//! Documents, unique names, and positions of consumer groups.

use crate::table::check;

#[test]
fn documents_are_versioned() {
    check(
        "at | command                          | outcome
         0s | doc get users/1                  | NOT_FOUND
         0s | doc delete users/1               | NOT_FOUND
         0s | doc put users/1 a if 1           | VERSION_MISMATCH version
         0s | doc put users/1 a if 0           | v1
         0s | doc put users/1 b if 0           | VERSION_MISMATCH version
         0s | doc put users/1 b if 1           | v2
         0s | doc put users/1 c                | v3
         0s | doc get users/1                  | v3 c
         0s | checkpoint                       | -
         0s | restart                          | -
         0s | doc get users/1                  | v3 c
         0s | doc delete users/1 if 2          | VERSION_MISMATCH version
         0s | doc delete users/1 if 3          | v4
         0s | doc get users/1                  | NOT_FOUND
         0s | doc put users/1 d if 3           | VERSION_MISMATCH version
         0s | doc put users/1 d if 0           | v5
         0s | doc put users a                  | INVALID_FIELD key
         0s | doc put /1 a                     | INVALID_FIELD key
         0s | doc put users/ a                 | INVALID_FIELD key",
    );
}

#[test]
fn documents_have_a_size_and_some_topics() {
    check(
        "at | command                                     | outcome
         0s | doc put users/1 bytes:1048576               | v1
         0s | doc put users/1 bytes:1048577               | INVALID_FIELD value
         0s | doc put users/1 a emit user.updated         | v2
         0s | doc put users/1 a emit shipping.updated     | v3
         0s | doc put users/1 a emit notification.sent    | v4
         0s | doc put users/1 a emit order.created        | INVALID_FIELD emit
         0s | doc put users/1 b key k                     | v5
         0s | doc put users/1 b key k                     | v5 (replay)
         0s | doc put users/1 c key k                     | IDEMPOTENCY_KEY_REUSED request_id
         0s | doc delete users/1 key k                    | IDEMPOTENCY_KEY_REUSED request_id
         0s | doc get users/1                             | v5 b",
    );
}

#[test]
fn names_are_claimed_then_confirmed() {
    check(
        "at      | command                                | outcome
         0s      | name get email/a                       | NOT_FOUND
         0s      | name confirm email/a by ada            | NOT_FOUND
         0s      | name claim email/a by ada for 10s      | done
         0s      | name claim email/a by bob for 10s      | NAME_TAKEN
         5s      | name claim email/a by ada for 10s      | done
         15s-1us | name claim email/a by bob for 10s      | NAME_TAKEN
         15s-1us | name get email/a                       | owner ada
         15s     | name get email/a                       | NOT_FOUND
         15s     | name confirm email/a by ada            | NOT_FOUND
         15s     | name claim email/a by bob for 10s      | done
         15s     | name confirm email/a by ada            | NAME_TAKEN
         16s     | name confirm email/a by bob            | confirmed
         16s     | flush                                  | -
         16s     | restart                                | -
         99s     | name get email/a                       | owner bob confirmed
         99s     | name claim email/a by bob for 10s      | confirmed
         99s     | name release email/a by ada            | NAME_TAKEN
         99s     | name release email/a by bob            | done
         99s     | name release email/a by bob            | NOT_FOUND
         99s     | name claim email/a by ada for 86400s   | done
         99s     | name claim email/b by ada for 86401s   | INVALID_FIELD for
         99s     | name claim email/b by ada for 0s       | INVALID_FIELD for
         99s     | name claim email/b for 1s              | INVALID_FIELD owner
         99s     | name claim email by ada for 1s         | INVALID_FIELD name",
    );
}

#[test]
fn groups_commit_what_is_there() {
    check(
        "at | command                        | outcome
         0s | put tea stock 5                | ok
         0s | position mail order.created    | at 0
         0s | commit mail order.created 2    | at 2
         0s | commit mail order.created 4    | INVALID_FIELD lsn
         0s | commit mail order.created 3    | at 3
         0s | position mail order.created    | at 3
         0s | position mail order.cancelled  | at 0
         0s | position shop order.created    | at 0
         0s | commit mail order.created 1    | at 1
         0s | checkpoint                     | -
         0s | restart                        | -
         0s | position mail order.created    | at 1",
    );
}
