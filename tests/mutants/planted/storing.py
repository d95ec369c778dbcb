"""Bugs of the file: durability, one writer, the chain, the audit, snapshots."""

from __future__ import annotations

from planted.bug import RUNNER, Bug

STORING = (
    Bug(
        "synchronous=NORMAL",
        "No acknowledged event is lost at power failure: SQLite's NORMAL syncs a WAL only at checkpoints.",
        "ledger/store/schema.py",
        """    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=2000")
""",
        """    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=2000")
""",
        ("tests/store/test_sqlite.py::test_an_open_ledger_is_durable_and_readable_by_its_owner_alone",),
    ),
    Bug(
        "appended before it is allowed",
        "An event that the state does not allow never reaches the log.",
        "ledger/runner.py",
        """        for position, event in enumerate(events, first):
            evolve(self.state, position, at, event)
        make_durable(at)
""",
        """        make_durable(at)
        for position, event in enumerate(events, first):
            evolve(self.state, position, at, event)
""",
        (f"{RUNNER}::test_an_event_that_the_state_does_not_allow_never_reaches_the_log",),
    ),
    Bug(
        "the epoch is ignored in appending",
        "A writer that was superseded cannot append any more.",
        "ledger/store/sqlite.py",
        "WHERE position = ? AND epoch = ?",
        "WHERE position = ? AND epoch >= ?",
        ("tests/store/test_sqlite.py::test_a_fenced_writer_can_neither_append_nor_act",),
    ),
    Bug(
        "the fence is ignored",
        "A writer that was superseded cannot act any more.",
        "ledger/store/sqlite.py",
        "        if self._stored_head()[1].epoch != self._head.epoch:\n",
        "        if False:\n",
        ("tests/store/test_sqlite.py::test_a_fenced_writer_can_neither_append_nor_act",),
    ),
    Bug(
        "writing goes on after a failure",
        "After a failed write nobody knows what the disk holds: the log is used no further.",
        "ledger/store/sqlite.py",
        """        except BaseException as problem:
            self._failure = problem
            raise
        return head
""",
        """        except BaseException:
            raise
        return head
""",
        ("tests/store/test_sqlite.py::test_a_full_disk_is_said_and_the_log_stays_what_it_was",),
    ),
    Bug(
        "the head is not kept beside the log",
        "Every commit is remembered outside the log, so that an older copy is told from it.",
        "ledger/store/sqlite.py",
        "            if not self.needs_recovery:\n                lease.write_head(ledger_id, head)\n",
        "",
        ("tests/store/test_sqlite.py::test_an_older_copy_put_back_in_place_is_refused_and_names_the_way_out",),
    ),
    Bug(
        "the head in the sidecar is not checked",
        "A ledger behind its head (a restored backup, a lost -wal) is refused before anything is submitted.",
        "ledger/store/lease.py",
        "    if position < record.position or hash_at(record.position) != record.hash:\n",
        "    if False:\n",
        ("tests/store/test_sqlite.py::test_an_older_copy_put_back_in_place_is_refused_and_names_the_way_out",),
    ),
    Bug(
        "only the length of the log is checked",
        "A log that was rolled back and went on differently is refused.",
        "ledger/store/lease.py",
        "    if position < record.position or hash_at(record.position) != record.hash:\n",
        "    if position < record.position:\n",
        ("tests/store/test_sqlite.py::test_a_rolled_back_log_that_went_on_differently_is_refused",),
    ),
    Bug(
        "the head is not synced",
        "The head outside the log survives a power failure.",
        "ledger/store/lease.py",
        "sequence, record)\n            sync_data(self._fd)\n",
        "sequence, record)\n",
        ("tests/store/test_lease.py::test_a_head_is_synced_whole_before_writing_it_returns",),
    ),
    Bug(
        "one slot for the head",
        "A torn write of the head leaves the one before it.",
        "ledger/store/lease.py",
        "            _write_record(self._fd, _HEAD_OFFSETS[sequence % 2], sequence, record)\n",
        "            _write_record(self._fd, _HEAD_OFFSETS[0], sequence, record)\n",
        ("tests/store/test_lease.py::test_a_head_is_overwritten_in_place_and_a_torn_one_leaves_the_one_before",),
    ),
    Bug(
        "taken over without killing",
        "With --take-over the process that had the ledger is dead before another writes.",
        "ledger/store/lease.py",
        "                _kill_holder(fd, ledger)\n            if _is_at(",
        "            if _is_at(",
        ("tests/store/test_lease.py::test_a_stopped_holder_keeps_its_lock_until_it_is_taken_over",),
    ),
    Bug(
        "another process is killed",
        "Only the very process that has the lock is killed, never one that has got its number since.",
        "ledger/store/lease.py",
        """self.boot == identity.boot_id() and self.start != "" and identity.process_start(self.pid) == self.start""",
        """self.boot == identity.boot_id() and identity.process_start(self.pid) != \"\"""",
        ("tests/store/test_lease.py::test_only_the_very_process_of_the_record_is_killed",),
    ),
    Bug(
        "no lock",
        "A second process is refused while one writes.",
        "ledger/store/lease.py",
        "    except BlockingIOError:\n        return False\n    return True\n",
        "    except BlockingIOError:\n        return True\n    return True\n",
        ("tests/store/test_lease.py::test_a_second_process_is_refused_and_told_who_and_what_to_type",),
    ),
    Bug(
        "the chain does not cover the instant",
        "A changed instant of an event is detected.",
        "ledger/store/chain.py",
        "    row = _ROW.pack(position, prev, at, len(kind))\n",
        "    row = _ROW.pack(position, prev, 0, len(kind))\n",
        ("tests/store/test_chain.py",),
    ),
    Bug(
        "the chain is no chain",
        "A removed or reordered event is detected: each hash follows from the one before it.",
        "ledger/store/chain.py",
        "    row = _ROW.pack(position, prev, at, len(kind))\n",
        "    row = _ROW.pack(position, GENESIS, at, len(kind))\n",
        ("tests/store/test_chain.py",),
    ),
    Bug(
        "the audit does not check prompts",
        "A changed prompt is detected.",
        "ledger/files/bodyaudit.py",
        "        elif found != recorded:\n",
        "        elif False:\n",
        ("tests/core/test_audit.py::test_a_changed_request_body_is_found_at_its_event",),
    ),
    Bug(
        "the audit does not check answers",
        "A changed answer is detected.",
        "ledger/files/audit.py",
        "        if found[0] != event.digest:\n",
        "        if False:\n",
        ("tests/core/test_audit.py::test_a_changed_row_is_found_at_its_event",),
    ),
    Bug(
        "the audit does not count batches",
        "A second batch of a chunk fails the audit.",
        "ledger/core/promises.py",
        "        if len(live) > 1:\n",
        "        if False:\n",
        ("tests/core/test_audit.py::test_each_broken_promise_is_named_at_its_event",),
    ),
    Bug(
        "one salt for all",
        "Every body has a salt of its own: equal bodies have different digests, and none can be guessed from another.",
        "ledger/store/payloads.py",
        "    pool = os.urandom(SALT_BYTES * count)\n",
        "    pool = os.urandom(SALT_BYTES) * count\n",
        ("tests/store/test_payloads.py",),
    ),
    Bug(
        "a stale snapshot is believed",
        "A memo of another history than the log's is not believed.",
        "ledger/loading.py",
        "    if row is None or row.hash != data[:32]:",
        "    if row is None:",
        ("tests/test_loading.py",),
    ),
    Bug(
        "a damaged snapshot is believed",
        "A memo of another version, or of another position, is not believed.",
        "ledger/core/snapshot.py",
        "    if memo.memo_version != MEMO_VERSION:\n        return None\n",
        "",
        ("tests/core/test_snapshot.py",),
    ),
    Bug(
        "a reader writes",
        "Readers never write to a ledger, and never checkpoint it.",
        "ledger/store/sqlite.py",
        """        record = read_head(path)  # before the log: the writer commits the log first
        connection = schema.connect(path, "ro")
""",
        """        record = read_head(path)  # before the log: the writer commits the log first
        connection = schema.connect(path, "rw")
""",
        ("tests/store/test_sqlite.py::test_a_reader_cannot_write",),
    ),
    Bug(
        "everybody may read",
        "A ledger, which holds prompts and answers, is readable by its owner alone.",
        "ledger/store/newfile.py",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644",
        ("tests/store/test_sqlite.py::test_an_open_ledger_is_durable_and_readable_by_its_owner_alone",),
    ),
    Bug(
        "a changed event is folded",
        "Whoever may submit folds only events whose hashes follow: one bad byte could make a chunk look unsent.",
        "ledger/loading.py",
        "        if row.position != position or not follows:\n",
        "        if row.position != position:\n",
        ("tests/test_loading.py",),
    ),
    Bug(
        "two threads learn one type",
        "A process does not crash at its first calls: msgspec learns each type before there are threads.",
        "ledger/service/gateway.py",
        "_decode_list = msgspec.json.Decoder(_ListBody).decode\n",
        "_decode_list = lambda data: msgspec.json.decode(data, type=_ListBody)\n",
        ("tests/test_first_reads.py",),
    ),
)
