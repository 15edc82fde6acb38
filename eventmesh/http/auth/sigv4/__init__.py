"""AWS Signature Version 4: requests that are signed with the secret of an access key."""
