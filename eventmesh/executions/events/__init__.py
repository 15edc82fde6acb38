"""Events that executions wait for: `expected` is what the code has, and `delivery` finds them."""
