"""Reads revocation lists where nobody waits for it: small ones in a thread, large ones in a process of their own.

Reading a million entries takes seconds, most of which no other thread of the process could run. So a large list goes to
a child, in bytes through a pipe, and what comes back is packed and costs a copy. The child has limits of its own: on
memory, on processor time, and on how long it may take.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Final

from moorage.errors import Invalid, Unavailable
from moorage.pki.revocation_lists import RevocationList, parse_revocation_list, unpack_revocation_list

__all__ = ["IN_THREAD_BYTES", "READER_CPU_S", "READER_MEMORY_BYTES", "read_revocation_list"]

# Some thousand entries, a few milliseconds.
IN_THREAD_BYTES: Final = 64 * 1024
_REFUSED: Final = 3
READER_CPU_S: Final = 60
READER_MEMORY_BYTES: Final = 2 * 1024**3
_PATIENCE_S: Final = 300.0


async def read_revocation_list(data: bytes) -> tuple[RevocationList, bytes]:
    """`certificates.revocation.ReadList`. Raises as `parse_revocation_list` and `pack`, and
    `Unavailable` (`crl.unread`).
    """
    if len(data) <= IN_THREAD_BYTES:
        return await asyncio.to_thread(_read_here, data)
    packed = await _read_in_child(data)
    return await asyncio.to_thread(unpack_revocation_list, packed), packed


def _read_here(data: bytes) -> tuple[RevocationList, bytes]:
    found = parse_revocation_list(data)
    return found, found.pack()


async def _read_in_child(data: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            out, err = await child.communicate(data)
    except TimeoutError as error:
        raise Unavailable("crl.unread", f"the list was not read within {_PATIENCE_S:g} s") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == 0:
        return out
    if child.returncode == _REFUSED:
        reason, message, fix = json.loads(out)
        raise Invalid(reason, message, fix=fix)
    raise Unavailable(
        "crl.unread",
        f"the process that reads lists ended with {child.returncode}: {err.decode('utf-8', 'replace')[-300:]}",
    )


def _main() -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (READER_CPU_S, READER_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (READER_MEMORY_BYTES, READER_MEMORY_BYTES))
    try:
        sys.stdout.buffer.write(parse_revocation_list(sys.stdin.buffer.read()).pack())
    except Invalid as refusal:
        sys.stdout.buffer.write(json.dumps([refusal.reason, refusal.message, refusal.fix]).encode())
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main())
