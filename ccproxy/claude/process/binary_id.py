"""The identity of a binary. Pure."""

import msgspec


class BinaryID(msgspec.Struct, frozen=True):
    """Identifies a binary; a replaced or updated file has another id.

    npm gives the files of all versions the same time, so size and time are not enough.

    Attributes:
        path: the absolute path, with all symbolic links followed.
        size: in bytes.
        modified_ns: modification time, Unix time in nanoseconds.
        inode: the file's number in its file system.
    """

    path: str
    size: int
    modified_ns: int
    inode: int
