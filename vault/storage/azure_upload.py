"""Create block blobs under the condition that their name is free.

A small object is one `Put Blob` with `If-None-Match: *`. Of a large one the parts are staged side by
side as blocks, which nobody sees, and committed by one `Put Block List` with the same condition. Each
request carries the MD5 of its body, which the service checks. Blocks that are never committed are
forgotten after a week.
"""

from typing import Any, Final

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, BlobType

from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.ports import Sink
from vault.storage import answers
from vault.storage.azure_session import TAKEN, AzureAnswer, AzureSession
from vault.storage.part_writer import PartWriter

PART: Final = 4 * limits.MIB
MARK: Final = "mvaultupload"  # the metadata that tells whose upload a blob is
_PARALLEL: Final = 4
_DOUBLING: Final = 5_000  # a blob may have 50,000 blocks, which are 20 TiB then


class Upload:
    """One upload: in one request if it fits one, else in blocks."""

    def __init__(self, session: AzureSession, name: str, path: str, mark: str) -> None:
        """Upload to the blob `path`; `name` is what the vault calls it, `mark` tells whose upload it is."""
        self._session = session
        self._name = name
        self._path = path
        self._mark = mark
        self._parts: PartWriter[str] = PartWriter(
            self._stage, part=PART, parallel=_PARALLEL, doubling=_DOUBLING
        )

    @property
    def sink(self) -> Sink:
        """Takes the bytes."""
        return self._parts

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._parts.size

    @property
    def checksum(self) -> str | None:
        """The service gives no checksum of a blob that was staged in blocks."""
        return None

    def commit(self) -> None:
        """Make the blob visible, if its name is free.

        Raises:
            Conflict: it is not.
            Unavailable: the service failed; the blob may be there, if its answer was lost.
        """
        try:
            data = self._parts.whole()
            if data is None:
                self._commit_blocks(self._parts.finish())
            else:
                self._put(data)
        except AzureAnswer as answer:
            raise self._conflict_of(answer) from answer

    def close(self) -> None:
        """Begin no more requests, and wait for those that run."""
        self._parts.close()

    def _put(self, data: memoryview) -> None:
        body = bytes(data)

        def request() -> None:
            self._blob().upload_blob(
                body,
                blob_type=BlobType.BLOCKBLOB,
                length=len(body),
                metadata={MARK: self._mark},
                overwrite=False,
                validate_content=True,
                max_concurrency=1,
            )

        try:
            self._session.call("create", self._name, request)
        except AzureAnswer as answer:
            if answer.reason not in TAKEN or self._is_there():
                raise
            # Azurite takes blocks that an ended upload left behind for a blob; a commit tells them apart.
            self._commit_blocks([self._stage(0, data)])

    def _is_there(self) -> bool:
        return bool(self._session.call("look at", self._name, lambda: self._blob().exists()))

    def _stage(self, index: int, data: memoryview) -> str:
        block = f"{self._mark}{index:08d}"  # of one length, and no other upload's
        body = bytes(data)
        self._session.call(
            "create",
            self._name,
            lambda: self._blob().stage_block(block, body, length=len(body), validate_content=True),
        )
        return block

    def _commit_blocks(self, blocks: list[str]) -> None:
        self._session.call(
            "create",
            self._name,
            lambda: self._blob().commit_block_list(
                [BlobBlock(block) for block in blocks],
                metadata={MARK: self._mark},
                match_condition=MatchConditions.IfMissing,
                validate_content=True,
            ),
        )

    def _blob(self) -> Any:
        return self._session.container.get_blob_client(self._path)

    def _conflict_of(self, answer: AzureAnswer) -> Conflict | Unavailable:
        return answers.conflict(self._name) if answer.reason in TAKEN else answer
