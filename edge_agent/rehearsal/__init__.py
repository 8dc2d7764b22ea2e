"""A procedural survey with known truth: what a policy is rehearsed on before it flies."""
