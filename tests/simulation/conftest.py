"""What several tests of runs share."""

import jax
import pytest


class Compilations:
    """The names of the functions that JAX compiles inside the block."""

    def __enter__(self) -> list[str]:
        self.names: list[str] = []

        def listen(event: str, seconds: float, **details) -> None:
            if event == "/jax/core/compile/backend_compile_duration" and self.listening:
                self.names.append(str(details.get("fun_name")))

        self.listening = True
        jax.monitoring.register_event_duration_secs_listener(listen)
        return self.names

    def __exit__(self, *error) -> None:
        self.listening = False


@pytest.fixture
def count_compilations() -> type[Compilations]:
    return Compilations
