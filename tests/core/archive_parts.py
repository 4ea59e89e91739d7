"""Make zip and tar archives in memory, as everyday tools write them."""

import io
import tarfile
import zipfile


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack members, which are pairs of a name and its content."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(*members: tuple[str, bytes], mode: str = "w") -> bytes:
    """Pack members into a tar archive; `mode` as `tarfile.open` has it, `w:gz` for example."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return packed.getvalue()
