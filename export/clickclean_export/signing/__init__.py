"""Ed25519 signatures of published versions and plans, in the OpenSSF model-signing format."""
