"""The words of ``explanation``: subject, cause, what the system does itself, what to do, commands."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, ...]] = {
    "CONNECTION_FAILED": (
        "A hub cannot be reached",
        "No connection to a hub could be made, or the one there was has ended: the hub does not run, the "
        "address is wrong, or the network between the two hosts is down.",
        "Components and clients dial again for as long as they run, and repeat what was not answered. What "
        "was accepted before is on disk, and goes on as soon as a hub is there.",
        "See whether the hub runs and where it listens, and compare that with hub_urls in the files under "
        "/etc/gleitzeit of the host that cannot reach it.",
        "systemctl status gleitzeit-hub",
        "journalctl -u gleitzeit-hub -n 50",
    ),
    "TLS_FAILED": (
        "There is no secure connection to a hub",
        "One end of the connection does not accept the certificate of the other: it is of another CA, for "
        "another name, has expired, or is missing. Or one end speaks TLS, and the other plain HTTP.",
        "Daemons try again every 10 seconds, and use new certificates as soon as they are reloaded. Clients "
        "give up. Connections that exist are not touched when a certificate expires.",
        "The message says which it is. Look at the certificates of both hosts, renew those that have "
        "expired, and reload; addresses of hubs that speak TLS begin with https://.",
        "gleitzeit cert show",
        "gleitzeit cert renew NAME",
        "systemctl reload gleitzeit",
    ),
    "CONNECTION_TIMEOUT": (
        "Nobody answered in time",
        "The hub took the request, and the component that should answer it did not within the deadline: it "
        "is not running, has been cut off, or has more to do than it can.",
        "Requests between components are repeated until they are answered. A client gives up, which does "
        "not undo what it has asked for.",
        "See which components are connected and how busy they are; start the one that is missing.",
        "gleitzeit components",
        "gleitzeit status",
    ),
    "AUTHENTICATION_FAILED": (
        "The hub does not accept the token",
        "The token is missing, or no key of the hub has signed it; or the hub has no keys, and so lets "
        "nobody in. A token that was changed is read when a service starts, and keys when the hub starts.",
        "The hub closes the connection. Daemons go on trying, so that they are back as soon as they have a "
        "token that is accepted; clients give up.",
        "Give this side a token of the hub's: daemons read /etc/credstore/gleitzeit.token, people in the "
        "group gleitzeit read /etc/gleitzeit/token. `gleitzeit token create` makes one on the hub's host, "
        "and `gleitzeitd keygen` makes the keys. Then restart the services of that host.",
        "gleitzeit token list",
        "systemctl restart gleitzeit.target",
    ),
    "TOKEN_EXPIRED": (
        "The token has expired, or the key that signed it is not accepted any more",
        "A token is good until the time that was given when it was made. After `gleitzeit token rotate`, "
        "tokens of the key before are accepted until the overlap is over.",
        "The hub refuses the token, and cuts living connections that have shown it.",
        "Make another token on the hub's host, give it to whoever had this one, and restart the services "
        "there.",
        "gleitzeit token list",
        "gleitzeit token create --role provider --subject HOST",
    ),
    "TOKEN_REVOKED": (
        "Somebody has revoked the token",
        "The token is in the list of revoked tokens on the hub's host.",
        "The hub refuses the token, and cuts living connections that have shown it.",
        "If it was revoked by mistake, make another: a revoked token does not come back.",
        "gleitzeit token list",
    ),
    "RESOURCE_LIMIT_EXCEEDED": (
        "More was sent than a limit allows",
        "The message names the limit's setting, what it is, and what was found. Connections have limits of "
        "how fast they may send, how much may wait for them, and how much they may watch; and all clients "
        "together have some, which a crowd of others can have used up.",
        "What was accepted before is kept. A connection that goes on regardless is cut, and may come back.",
        "Where the error is retryable, wait as long as it says: commands and clients do so by themselves. "
        "Else ask for less, or raise the setting on the host of the component that refused.",
        "gleitzeit components",
        "gleitzeitd hub --print-config",
    ),
    "AUTHORIZATION_FAILED": (
        "The sender may not send this",
        "A component sent an event that its role may not send, called itself what it is not, or used the id "
        "of another component. Mixed versions and home-made clients are the usual reasons.",
        "The hub passes the event on to nobody, and tells the sender why.",
        "See who it was in the hub's record (GLEITZEIT_PEER), and which version that runs. Of two daemons "
        "with one component_id, give one another.",
        "gleitzeit components",
        "journalctl -u gleitzeit-hub -p warning",
    ),
    "WIRE_VERSION_UNSUPPORTED": (
        "A component and the hub have no version of the wire in common",
        "Their packages are too far apart: a release speaks the wire of the release before it and its own, "
        "and nothing older.",
        "The hub refuses the component, which goes on trying, so that it is back as soon as one of the two "
        "has been upgraded. Tasks wait meanwhile.",
        "Upgrade the older one; over more than one release, upgrade all hosts one release at a time.",
        "gleitzeit components",
        "apt list --installed 'gleitzeit*'",
    ),
    "PERSISTENCE_CONNECTION_FAILED": (
        "The store cannot read or write now",
        "The database is not there to be written: the disk is full or read-only, its directory is missing, "
        "or more changes wait than may be held.",
        "Nothing new is accepted, nothing that was accepted is lost, and what could not be written is tried "
        "again until it succeeds. Tasks that run go on; their results wait with the engines.",
        "Make room on the disk of the persistence host, or mend what the record says.",
        "systemctl status gleitzeit-persistence",
        "df -h /var/lib/gleitzeit",
    ),
    "PERSISTENCE_DATA_CORRUPT": (
        "The database is damaged, or is not ours",
        "The file is not a database of Gleitzeit, was written by a newer version, or its pages are damaged, "
        "as a failing disk or a copy made while it was written leaves them.",
        "Persistence ends rather than make it worse, and systemd does not start it again. All other "
        "components wait for it.",
        "Look at the disk, and put a backup in the place of the database: the help of gleitzeit restore says "
        "how. The damaged file is kept beside it.",
        "journalctl -u gleitzeit-persistence -n 50",
        "gleitzeit restore --help",
    ),
    "PERSISTENCE_LOCKED": (
        "Another process has the database",
        "Two processes were started with the same database. One of them may be a run without a hub, or a "
        "persistence that is still ending.",
        "The second one does not start; the database is safe.",
        "Stop the process that the message names, or give the second one another sqlite.path.",
        "systemctl status gleitzeit-persistence",
    ),
    "WORKFLOW_VALIDATION_FAILED": (
        "A workflow was refused",
        "The workflow file, or the inputs given with it, have problems: unknown keys, tasks that wait for "
        "each other, references to nothing, parameters that the method does not take.",
        "Nothing of it has run, and nothing of it is kept.",
        "Correct the file at the places that are named; validate shows all of them with line and column.",
        "gleitzeit validate FILE",
    ),
    "WORKFLOW_NOT_FOUND": (
        "No workflow of this id is known",
        "The id is misspelt, belongs to another system, or the workflow was never accepted.",
        "Nothing.",
        "Look it up; the beginning of an id is enough, and 'last' is the newest one.",
        "gleitzeit list",
    ),
    "WORKFLOW_EXECUTION_FAILED": (
        "A workflow could not be carried through",
        "Something that concerns the workflow as a whole prevents it from going on.",
        "What has been done is kept, and can be looked at.",
        "See which task it was, and why.",
        "gleitzeit why WORKFLOW",
    ),
    "WORKFLOW_TIMEOUT": (
        "A workflow took longer than its timeout",
        "The 'timeout' in the workflow's file was over before its last task had ended.",
        "What ran of it was ended, what waited does not run, and the workflow has failed. Results that it "
        "had already are kept.",
        "See where the time went. Then raise 'timeout', or let more run side by side.",
        "gleitzeit status WORKFLOW",
        "gleitzeit why WORKFLOW",
    ),
    "WORKFLOW_INVALID_STATE": (
        "The workflow is past what was asked for",
        "A workflow of this id exists with another content, or it has ended, so that there is nothing left "
        "to cancel, to reorder or to resolve; or it has not ended, and cannot be deleted yet.",
        "Nothing was changed.",
        "See how it stands. To run something else, submit it under another id. What is to be deleted is "
        "cancelled first, unless its end is waited for.",
        "gleitzeit status WORKFLOW",
        "gleitzeit run FILE --id ID",
    ),
    "TASK_EXECUTION_FAILED": (
        "A task's work failed",
        "The script raised, the command returned another code than 0, or the service said no. The message "
        "and the task's own output say more.",
        "If the task has a 'retry' that covers this error, it is tried again. Else it has failed, what "
        "depends on it is skipped, and what does not goes on.",
        "Read what the task wrote, mend it, and submit the workflow again. If another attempt may be "
        "luckier, give the task a 'retry'.",
        "gleitzeit logs WORKFLOW TASK",
        "journalctl GLEITZEIT_WORKFLOW=WORKFLOW",
    ),
    "TASK_TIMEOUT": (
        "A task took longer than it may",
        "The attempt was not done within the task's 'timeout', or one of its 'timeouts' was over: waiting "
        "too long to begin, too long without a sign of life, or too long in all.",
        "The work was ended. If the task has a 'retry' that covers this error, it is tried again.",
        "See how far it came. Raise the limit that the message names, or make the work smaller.",
        "gleitzeit logs WORKFLOW TASK",
        "gleitzeit why WORKFLOW TASK",
    ),
    "TASK_CANCELLED": (
        "A task was cancelled",
        "Somebody cancelled the task's workflow, or the attempt was taken back from its engine.",
        "The work was ended; nothing more of a cancelled workflow runs. A task that was only taken back "
        "runs elsewhere.",
        "Nothing, if it was meant. To run it after all, submit the workflow again under another id.",
        "gleitzeit status WORKFLOW",
    ),
    "TASK_DEPENDENCY_FAILED": (
        "A task that this one depends on did not complete",
        "One of the tasks in 'depends_on' failed, was skipped or was cancelled, so that this one has "
        "nothing to work with.",
        "It was skipped. Tasks that do not depend on it go on.",
        "Find the task that failed first, and mend that.",
        "gleitzeit why WORKFLOW",
    ),
    "TASK_PARAMETER_INVALID": (
        "A task's parameters are wrong",
        "A parameter has the wrong type or value for the method, or a reference ${...} in it points at "
        "something that the other task's result does not have.",
        "The task has failed; another attempt would fail in the same way, so that there is none.",
        "Compare the parameters with what the method takes, and the references with the results.",
        "gleitzeit protocols",
        "gleitzeit result WORKFLOW",
    ),
    "TASK_RESULT_INVALID": (
        "A task's result cannot be used",
        "What the work returned is no JSON, does not fit the method's schema, or is larger than a result "
        "may be.",
        "The work was done, but the task counts as failed; there is no other attempt.",
        "Return less, or something plain: texts, numbers, lists and tables. Large data belongs into a file, "
        "and its name into the result.",
        "gleitzeit logs WORKFLOW TASK",
    ),
    "TASK_NOT_FOUND": (
        "No such task, or no such result",
        "The workflow has no task of this id, or the task has no result (yet).",
        "Nothing.",
        "See which tasks the workflow has, and how they stand.",
        "gleitzeit status WORKFLOW",
    ),
    "SECRET_NOT_AVAILABLE": (
        "A provider does not have the secret that a task names",
        "The task says ${secret.NAME}, and the provider that ran it has no such secret, or does not give it "
        "to tasks. Secrets are those of the provider's host: another host may have it.",
        "The task fails, and is not tried again. Nothing of it has run.",
        "Correct the name; or put the secret where the provider looks for it, and start the provider again: "
        "a line NAME=VALUE in /etc/credstore/gleitzeit.secrets.PROVIDER, or a systemd credential "
        "secret.NAME of its unit.",
        "gleitzeitd provider PROVIDER --check-config",
        "systemctl restart gleitzeit-provider@PROVIDER",
    ),
    "TASK_RESOURCES_EXCEEDED": (
        "A task needed more of the machine than it may take",
        "The work took more memory, processor time, processes, open files, space or output than the task's "
        "'resources' or the provider's settings allow; or it asks for more than the provider gives.",
        "All its processes were ended. The task fails, and is not tried again.",
        "Let the task take less; or say in its 'resources' what it needs, as 'memory: 2 GB'; or raise "
        "[provider.limits] and [provider.maxima] in the provider's file.",
        "gleitzeit logs WORKFLOW TASK",
        "gleitzeit config show provider NAME",
    ),
    "PROTOCOL_NOT_FOUND": (
        "No such protocol is registered",
        "No provider and no client has ever registered a protocol of this name with the registries that "
        "run now; or the name is misspelt.",
        "Workflows that were accepted wait, and go on when a provider of the protocol comes.",
        "Start a provider of the protocol, or correct the part of 'method' before the slash.",
        "gleitzeit protocols",
        "systemctl start gleitzeit-provider@NAME",
    ),
    "PROVIDER_NOT_AVAILABLE": (
        "A provider went away while it worked",
        "The provider, its host or the network ended during the call, or the engine lost its lease. Nobody "
        "knows how far the work had come.",
        "The task runs again elsewhere, unless its 'on_lost' says that it must not: then it fails, or waits "
        "for somebody to say what became of it.",
        "See why the provider ended. If the workflow waits for a decision, find out what was done, and say "
        "so with resolve.",
        "gleitzeit providers",
        "gleitzeit why WORKFLOW",
        "gleitzeit resolve WORKFLOW TASK rerun",
    ),
    "PROVIDER_TIMEOUT": (
        "A provider did not answer in time",
        "The provider, or the service behind it, did not answer within the deadline.",
        "If the task has a 'retry' that covers this error, it is tried again.",
        "See how busy the provider and its host are. Start more of them, or allow more time.",
        "gleitzeit providers",
        "gleitzeit components",
    ),
    "PROVIDER_OVERLOADED": (
        "A provider has no room for another call",
        "More calls were made than the provider may run or hold back, or it is going out of service.",
        "The task goes back into its queue, and is given out again a little later. This is no failure, and "
        "counts as no attempt.",
        "Nothing, if it passes. If much waits for long, start more providers, or raise their capacity.",
        "gleitzeit queues",
        "gleitzeit providers",
    ),
    "METHOD_NOT_SUPPORTED": (
        "The protocol has no such method",
        "The part of 'method' after the slash is misspelt, or the provider is of another version than the "
        "workflow expects.",
        "The task has failed; there is no other attempt.",
        "See which methods the protocol has.",
        "gleitzeit protocols",
    ),
    "RATE_LIMIT_EXCEEDED": (
        "A service asks for fewer requests",
        "The service behind a provider refused a call because there were too many of them.",
        "If the task has a 'retry' that covers this error, it is tried again, and not before the time that "
        "the service has named.",
        "Lower the provider's capacity so that fewer calls run at once, or raise the retry's delays.",
        "gleitzeit providers",
    ),
    "SYSTEM_ERROR": (
        "Something that was not foreseen",
        "The message says what is known of it. This is most likely a bug.",
        "Where it ended a daemon, systemd starts that again; the ledger knows what was in flight, and it "
        "goes on from there.",
        "Keep the records around it for a report.",
        "journalctl -b -p err SYSLOG_IDENTIFIER=gleitzeitd",
    ),
    "CONFIGURATION_ERROR": (
        "A configuration file cannot be used",
        "A key is unknown or misspelt, a value is of the wrong type or out of its range, or a file cannot "
        "be read. The message names file, line and key.",
        "A daemon that starts does not run with it; a daemon that runs goes on with its former settings. "
        "Files are never half applied.",
        "Correct the line that is named, check, and start or reload again.",
        "gleitzeitd ROLE --check-config",
        "gleitzeitd ROLE --print-config",
    ),
    "INVALID_REQUEST": (
        "An event is not as the catalogue has it",
        "A field is missing or has the wrong type, or the event is too large. Mixed versions and home-made "
        "clients are the usual reasons.",
        "The event is dropped, and whoever sent it is told.",
        "See who sent it and which version that runs; bring all hosts to the same release.",
        "gleitzeit components",
        "gleitzeit trace",
    ),
    "METHOD_NOT_FOUND": (
        "No event of this name exists",
        "A component sent an event that the catalogue does not have. Mixed versions and home-made clients "
        "are the usual reasons.",
        "The event is dropped, and whoever sent it is told.",
        "See who sent it and which version that runs; gleitzeit-events(7) lists all events.",
        "gleitzeit components",
    ),
    "INVALID_PARAMS": (
        "Data does not have the expected shape",
        "A value is of the wrong type, or a field is missing or unknown; the message names the place.",
        "What was asked for is refused as a whole.",
        "Correct the place that is named.",
        "gleitzeit validate FILE",
    ),
}
"""By the error's name."""

RECORDS: dict[str, tuple[str, ...]] = {
    "audit": (
        "Somebody has asked for something, and this came of it",
        "A record of the audit. GLEITZEIT_ACTION is what was asked for, GLEITZEIT_SUBJECT whose token that "
        "was, GLEITZEIT_ADDRESS where it came from, GLEITZEIT_OUTCOME whether it was accepted or refused. "
        "GLEITZEIT_HASH is the record's in the ledger, where each record carries the hash of the one before.",
        "The ledger keeps the same record, together with the change that it is about. Refusals beyond "
        "persistence.audit_refusals in a minute are counted.",
        "Nothing, if you know who it was and why. The ledger's records can be searched and checked.",
        "gleitzeit audit --limit 20",
        "gleitzeit audit --verify",
    ),
}
"""By the message of the records."""
