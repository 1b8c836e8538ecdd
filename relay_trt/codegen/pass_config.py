"""``PassContext(config={"relay.ext.tensorrt.options": config})`` on a TVM that does not know that option.

TVM checks the names of a PassContext's options against a list that only C++ can extend, and a stock TVM's
list lacks this one, so that the line every guide to TVM's TensorRT shows would raise "Invalid config
option". Replacing ``PassContext.__init__`` is the only way to let the line stand: the option is taken out
before TVM sees it, and travels in TVM's own context as the name of a pass instrument that does nothing.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Dict, Mapping, Optional

import tvm

from ..options import CompileOptions

KEY = "relay.ext.tensorrt.options"


def options_of_pass_context() -> Dict[str, Any]:
    """The options given in the current PassContext: those alone, checked.

    Where TVM has the key itself, there are never any: what is under it is for TVM's own TensorRT.

    Raises
    ------
    ValueError, TypeError
        Where they are not what `CompileOptions.from_dict` accepts.
    """
    for instrument in tvm.transform.PassContext.current().instruments or []:
        name = str(instrument.name)
        if name.startswith(KEY):
            given: Dict[str, Any] = json.loads(name[len(KEY) :])
            return given
    return {}


def accept_options() -> None:
    """Let PassContext take the option, unless TVM has it itself.

    Some old releases do that were built with TVM's own TensorRT. That would lose its options if they were taken out,
    and it does not know all of ours: PassContext refuses them there.
    """
    context = tvm.ir.transform.PassContext
    if KEY in context.list_configs() or hasattr(context.__init__, "__wrapped__"):
        return
    original = context.__init__

    @functools.wraps(original)
    def init(
        self: Any,
        opt_level: int = 2,
        required_pass: Any = None,
        disabled_pass: Any = None,
        instruments: Any = None,
        config: Optional[Mapping[str, Any]] = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if config and KEY in config:
            options = CompileOptions.from_dict(config[KEY]).to_dict()
            name = KEY + json.dumps({given: options[given] for given in map(str, config[KEY])})
            config = {name: value for name, value in config.items() if name != KEY}
            carrier = tvm.get_global_func("instrument.PassInstrument")(name, None, None, None, None, None)
            instruments = [*(instruments or []), carrier]
        original(self, opt_level, required_pass, disabled_pass, instruments, config, *args, **kwargs)

    context.__init__ = init
