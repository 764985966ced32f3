"""The command `nas`: run the command line, turn errors into one line and an exit code.

Exit codes:  0 done, 1 a check failed, 2 the user can mend it (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nas` with these arguments (default: the process's own) and return the exit code.

    Every error a user can cause ends as one line on stderr and code 2; `--debug` before or after
    the command shows the traceback as well. A defect of the program itself keeps its traceback.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    debug = _take_debug(args)
    _stop_on_sigterm()
    from nas.cli import app

    try:
        code = app(args, prog_name="nas", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe (head, less) left: nothing is wrong, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit:
        # So does typer leave when it meets the broken pipe first; our commands raise typer.Exit instead.
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        line = _user_message(error)
        if line is None:
            raise
        if debug:
            import traceback

            traceback.print_exc()
        print(f"nas: {line}", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0


def _stop_on_sigterm() -> None:
    """Let SIGTERM, as schedulers and containers send it, stop a command as cleanly as Ctrl-C."""
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _take_debug(args: list[str]) -> bool:
    """Remove `--debug` from the arguments, wherever it stands before a `--`, and say whether it was there."""
    options = args[: args.index("--")] if "--" in args else args
    found = "--debug" in options
    while "--debug" in options:
        args.remove("--debug")
        options = args[: args.index("--")] if "--" in args else args
    return found


def _user_message(error: Exception) -> str | None:
    """Return the one line to print for an error a user can mend, None for any other error."""
    from space.errors import NasError

    if isinstance(error, NasError):
        text = str(error)
    elif callable(wording := getattr(error, "format_message", None)):
        text = f"{str(wording()).rstrip('.')}; see {_command_path(error)} --help"
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        text = str(error.strerror)
    else:
        return None
    from nas.tables import clean

    return clean("; ".join(part.strip() for part in text.splitlines() if part.strip()))


def _command_path(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return str(getattr(context, "command_path", "nas"))


if __name__ == "__main__":
    sys.exit(main())
