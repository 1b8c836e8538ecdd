"""What config.cmake said when relay_trt was built; setup.py writes this file into the wheel."""

from typing import Union

USE_TENSORRT_CODEGEN: bool = True
USE_TENSORRT_RUNTIME: Union[bool, str] = True
