"""Tell what S3 or its SDK answered as the errors of the storage port."""

from typing import Final

from vault.errors import Unavailable

_DENIED: Final = {
    "NoCredentialsError": "Set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a "
    "role is attached.",
    "PartialCredentialsError": "Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    "CredentialRetrievalError": "Look at the credential process or role that your AWS configuration names.",
    "TokenRetrievalError": "Sign in again: aws sso login.",
    "SSOTokenLoadError": "Sign in again: aws sso login.",
    "UnauthorizedSSOTokenError": "Sign in again: aws sso login.",
    "ProfileNotFound": "Set AWS_PROFILE to a profile that your AWS configuration has.",
    "InvalidAccessKeyId": "This endpoint does not know that access key: check the key and the endpoint.",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key: check both.",
    "ExpiredToken": "The credentials have expired: get new ones.",
    "InvalidToken": "The session token is wrong: get new credentials.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
}
_RIGHTS: Final = {
    "read": "s3:GetObject and, so that a missing object can be told from a forbidden one, s3:ListBucket",
    "look at": "s3:GetObject and s3:ListBucket",
    "list": "s3:ListBucket",
    "store": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "restore": "s3:RestoreObject",
    "sweep": "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload",
}
_REGION: Final = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
}
_FULL: Final = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"}
_GONE: Final = {"NoSuchKey", "404", "NotFound"}
_TRANSIENT: Final = {408, 409, 429}


class Failed(Exception):
    """A request that S3 refused, or that got no answer that could be used.

    Attributes: `code` (S3's own, or the name of the SDK's exception), `status` (HTTP; 0 without an
    answer), `message` (one line of printable ASCII) and `repeated` (an earlier attempt of the same
    request may have been carried out).
    """

    def __init__(self, code: str, *, status: int = 0, message: str = "", repeated: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.message = message
        self.repeated = repeated

    @property
    def is_missing(self) -> bool:
        """Tell whether there is no such object (or only the marker of a deleted one)."""
        return self.code in _GONE

    @property
    def is_taken(self) -> bool:
        """Tell whether a condition of the request does not hold."""
        return self.code == "PreconditionFailed" or self.status == 412

    @property
    def is_certain(self) -> bool:
        """Tell whether the request certainly changed nothing."""
        refused = 300 <= self.status < 500 and self.status not in _TRANSIENT
        return (refused or self.code in _DENIED) and not self.repeated and self.code != "NoSuchUpload"


def failed(error: Exception) -> Failed:
    """Classify what the SDK raised."""
    if isinstance(error, Failed):
        return error
    response = getattr(error, "response", None)
    if not isinstance(response, dict) or "Error" not in response:
        return Failed(type(error).__name__, message=_one_line(str(error)))
    metadata = response.get("ResponseMetadata", {})
    return Failed(
        _one_line(str(response["Error"].get("Code", ""))) or "Unknown",
        status=int(metadata.get("HTTPStatusCode", 0)),
        message=_one_line(str(response["Error"].get("Message", ""))),
        repeated=bool(metadata.get("RetryAttempts", 0)),
    )


def unavailable(failure: Failed, doing: str, name: str, bucket: str) -> Unavailable:
    """Say that S3 failed or refused while `doing` something to `name`."""
    what = f"Could not {doing} {name or 'the store'} in the bucket {bucket}"
    why = f"{failure.code}: {failure.message}" if failure.message else failure.code
    code, hint = "unavailable", "Check the endpoint and the network, then try again."
    if failure.code == "InvalidObjectState":
        code = "storage-archived"
        why = "it was moved to an archive class and must be restored before it can be read"
        hint = f"Ask for it back, which takes minutes to two days: aws s3api restore-object --bucket {bucket}"
        hint += f" --key …/{name} --restore-request Days=7"
    elif failure.code in _DENIED:
        code, hint = "storage-denied", _DENIED[failure.code]
    elif failure.code in _REGION:
        hint = "The bucket lies in another region: add region=REGION to the location."
    elif failure.code in _FULL or failure.status == 507:
        code, hint = "storage-full", "Make room or raise the quota, then try again."
    elif failure.code == "NoSuchBucket":
        hint = "Create the bucket first (the vault makes none), or correct its name."
    elif failure.status in {401, 403}:
        code = "storage-denied"
        hint = f"Ask whoever owns the bucket for {_RIGHTS.get(doing, 'access')} (docs/storage/s3.md)."
    elif failure.status in {429, 503}:
        hint = "The store asks for fewer requests, or is down: try again later."
    return Unavailable(f"{what}: {why.rstrip('.')}.", code=code, subject=name, hint=hint)


def distrusted(name: str, bucket: str, reason: str) -> Unavailable:
    """Say that an answer is not one to what was asked."""
    return Unavailable(
        f"The answer of the bucket {bucket} about {name or 'its names'} cannot be used: {reason}.",
        subject=name,
        hint="Try again. If it persists, look at what stands between here and the store.",
    )


def _one_line(text: str) -> str:
    """Keep a server's words from writing to a terminal."""
    return "".join(letter if " " <= letter <= "~" else " " for letter in text[:300]).strip()
