"""The declarations of the sources that waitbus has itself."""

from __future__ import annotations

from waitbus.sources.spec import SourceSpec

NAMED = {"workflow_name": "what the event is about, by name"}


BUILT_IN = (
    SourceSpec(
        name="github",
        about="CI runs, checks, pushes, pull requests and releases of GitHub repositories.",
        event_types=(
            "workflow_run",
            "workflow_job",
            "check_run",
            "check_suite",
            "status",
            "pull_request",
            "push",
            "deployment_status",
            "release",
        ),
        concludes=frozenset(
            {"workflow_run", "workflow_job", "check_run", "check_suite", "status", "deployment_status"}
        ),
        fields={
            **NAMED,
            "run_id": "id of the workflow run",
            "run_attempt": "attempt of that run, from 1",
            "job_id": "id of the job",
            "job_name": "name of the job",
            "parent_run_id": "the run a job belongs to",
            "head_branch": "branch",
            "head_sha": "commit",
            "action": "what happened to it, in GitHub's word",
            "number": "number of the pull request",
            "html_url": "its page",
        },
        natural_key="github:run:<run_id>:<run_attempt>:<status>:<conclusion>",
        embeddable=True,
    ),
    SourceSpec(
        name="alertmanager",
        about="Alerts of Prometheus Alertmanager, one event for each alert.",
        event_types=("prometheus_alert", "prometheus_watchdog"),
        fields={
            "alert_name": "label alertname",
            "alert_severity": "label severity",
            "alert_fingerprint": "identity of the alert",
        },
        natural_key="alertmanager:<fingerprint>:<status>:<start or end time>",
    ),
    SourceSpec(
        name="pytest",
        about="Test sessions, and each failure as it happens.",
        event_types=("pytest_session", "pytest_test"),
        fields={
            **NAMED,
            "nodeid": "the test",
            "passed": "how many passed",
            "failed": "how many failed",
            "skipped": "how many were skipped",
            "exit_code": "pytest's own",
            "duration_ms": "ms",
        },
        natural_key="pytest:<session>[:<nodeid>:<outcome>]",
    ),
    SourceSpec(
        name="docker",
        about="Containers of Docker or Podman: docker_container is the exit and only that.",
        event_types=("docker_container", "docker_event"),
        progress=frozenset({"docker_event"}),
        fields={
            **NAMED,
            "name": "name of the container",
            "container_id": "id of the container",
            "image": "its image",
            "action": "what the engine says happened",
            "exit_code": "of the container's first process",
        },
        natural_key="docker:<container id>:<action>:<engine time, ns>",
        embeddable=True,
    ),
    SourceSpec(
        name="fs",
        about="Files that appear, change, move or go.",
        event_types=("fs_change",),
        fields={
            **NAMED,
            "path": "absolute path",
            "action": "created, modified, deleted, moved or overflow",
            "size": "bytes",
            "mtime_ns": "ns since the epoch",
        },
        natural_key="fs:<path>:<action>:<mtime, ns>",
        embeddable=True,
    ),
    SourceSpec(
        name="process",
        about="Commands started with `waitbus run`, and any process by its pid.",
        event_types=("process_started", "process_exited"),
        progress=frozenset({"process_started"}),
        fields={
            **NAMED,
            "name": "--name, else the command's file name",
            "pid": "process id",
            "start_ticks": "start time in clock ticks since boot; with the pid it names one process",
            "command": "the command line, 400 characters at most",
            "exit_code": "what `$?` would be: 128+n after signal n; absent where nobody can tell",
            "signal": "the signal that ended it, as in SIGKILL",
            "duration_ms": "ms from start to end",
            "run_pid": "pid of the `waitbus run` that started it",
            "run_start_ticks": "start time of that one",
        },
        natural_key="process:<boot id>:<pid>:<start time in ticks>:started|exited",
        embeddable=True,
    ),
    SourceSpec(
        name="agent",
        about="What programs and agents say: `waitbus emit`, messages, sessions.",
        event_types=(
            "agent_message",
            "agent_claim",
            "agent_task_failed",
            "session_registered",
            "session_ended",
        ),
        fields={
            "msg_to": "addressee",
            "msg_from": "sender",
            "msg_body": "text",
            "msg_thread": "thread",
            "msg_correlation_id": "ties a reply to its request",
            "msg_reply_to": "where a reply goes",
        },
        natural_key="agent:<sender>:request|reply|msg:<correlation id>",
    ),
    SourceSpec(
        name="http",
        about="CloudEvents and signed webhooks from any program.",
        event_types=("cloudevent", "webhook"),
        fields={**NAMED, "type": "the sender's type", "subject": "the sender's subject", "id": "the sender's id"},
        natural_key="http:<sender>:<id>",
    ),
    SourceSpec(
        name="waitbus",
        about="What happens to waitbus itself: a source that goes down, and comes back.",
        event_types=("source_down", "source_up"),
        progress=frozenset({"source_down", "source_up"}),
        fields={"name": "the source", "reason": "why, in a sentence", "pid": "the process that runs it"},
        example={
            "event_type": "source_down",
            "fields": {"name": "docker", "reason": "the socket refuses", "pid": 4242},
        },
        matches=("event_type=source_down", "name=docker"),
    ),
)
