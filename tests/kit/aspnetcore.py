"""A real ASP.NET Core app on this machine, though no registry that the tests may ask has a .NET SDK.

npm carries a self-contained .NET program of Microsoft's (MIT licence): one file, in which the runtime and ASP.NET
Core, IISIntegration included, stand beside the program's own assembly. That assembly is replaced by ours
(`tests/system/aspnetcore/Program.cs`), which Mono's C# compiler builds against the assemblies in the file. What runs
is Kestrel and UseIISIntegration as Microsoft ships them; only what that program does not use was trimmed away
(CreateSlimBuilder, `KestrelServerOptions.Listen`, WebSockets).

The file's format: github.com/dotnet/runtime, docs/design/features/single-file (bundle manifest, version 6).
"""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from tests.kit.npm import npm

SOURCE = Path(__file__).resolve().parents[1] / "system" / "aspnetcore" / "Program.cs"
PACKAGE = "@azure/mcp-linux-x64"
VERSION = "2.0.5"  # .NET 10.0.9
DIGEST = "2cfbeef6be12557157210251ed575e62676e382a60d6187a4aef14ada4d68b1d"
MACHINE = "x86_64"
COMPILER = "mcs"

_MAIN = "azmcp.dll"
_CORE = "System.Private.CoreLib.dll"
_REFERENCES = (
    _CORE,
    "System.Runtime.dll",
    "System.Collections.dll",
    "System.ComponentModel.dll",
    "System.Console.dll",
    "System.Net.Primitives.dll",
    "System.Security.Cryptography.dll",
    "Microsoft.AspNetCore.dll",
    "Microsoft.AspNetCore.Hosting.dll",
    "Microsoft.AspNetCore.Hosting.Abstractions.dll",
    "Microsoft.AspNetCore.Http.Abstractions.dll",
    "Microsoft.AspNetCore.Http.Features.dll",
    "Microsoft.AspNetCore.Routing.dll",
    "Microsoft.Extensions.Features.dll",
    "Microsoft.Extensions.Hosting.Abstractions.dll",
    "Microsoft.Extensions.Primitives.dll",
)
# The program's own; without them the file is a quarter as long.
_LEFT_OUT = ("Azure.", "Instrumentation/", "Microsoft.Azure", "OpenAI", "lib")

# Stands in the host, behind the offset of the manifest (SHA-256, as the host computes it, line end and all).
_MARK = hashlib.sha256(b".net core bundle\n").digest()
_ASSEMBLY = 1  # type of a file in the manifest
_PAGE = 4096

# `ref T`, the type of a field of ReadOnlySpan, is newer than the compiler; it is content with `T[]`.
_REF_FIELD = b"\x04\x06\x10\x13\x00"
_ARRAY_FIELD = b"\x04\x06\x1d\x13\x00"


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a bundle; `packed` 0: not compressed."""

    at: int
    size: int
    packed: int
    kind: int
    name: str

    def content(self, bundle: bytes) -> bytes:
        stored = bundle[self.at : self.at + (self.packed or self.size)]
        return zlib.decompress(stored, -zlib.MAX_WBITS) if self.packed else stored


@dataclass(frozen=True, slots=True)
class _Manifest:
    """`special`: where deps.json and runtimeconfig.json stand, with their sizes, then flags."""

    version: tuple[int, int]
    identity: bytes
    special: tuple[int, ...]
    files: tuple[_File, ...]


def available() -> bool:
    """Whether this machine can run the file at all."""
    return platform.machine() == MACHINE


def build(folder: Path) -> Path:
    """The app as one executable file in `folder`. Raises npm.NoAnswer."""
    assert shutil.which(COMPILER), f"the tests need {COMPILER}, the C# compiler of Debian's mono-mcs"
    npm(folder, "install", "--ignore-scripts", "--no-save", f"{PACKAGE}@{VERSION}")
    bundle = (folder / "node_modules" / PACKAGE / "dist" / "azmcp").read_bytes()
    assert hashlib.sha256(bundle).hexdigest() == DIGEST, f"another file than {PACKAGE} {VERSION}"
    shutil.rmtree(folder / "node_modules")
    manifest = _read(bundle)
    made = folder / "aspnetcore"
    made.write_bytes(_with_main(bundle, manifest, _compile(folder, bundle, manifest)))
    made.chmod(0o755)
    return made


def _compile(folder: Path, bundle: bytes, manifest: _Manifest) -> bytes:
    references = folder / "references"
    references.mkdir()
    for file in manifest.files:
        if file.name in _REFERENCES:
            content = file.content(bundle)
            if file.name == _CORE:
                content = content.replace(_REF_FIELD, _ARRAY_FIELD)
            (references / file.name).write_bytes(content)
    target = folder / "Program.exe"
    options = ["-nostdlib", "-noconfig", "-nowarn:1701,1702", "-langversion:7.2", f"-out:{target}"]
    named = [f"-r:{references / name}" for name in _REFERENCES]
    done = subprocess.run([COMPILER, *options, *named, str(SOURCE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(references)
    return target.read_bytes()


def _read(bundle: bytes) -> _Manifest:
    mark = bundle.index(_MARK)
    (start,) = struct.unpack_from("<q", bundle, mark - 8)
    stream = io.BytesIO(bundle)
    stream.seek(start)

    def numbers(layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, stream.read(struct.calcsize(layout)))

    major, minor, count = numbers("<IIi")
    identity = _read_text(stream)
    special = numbers("<5q")
    files = []
    for _ in range(count):
        at, size, packed, kind = numbers("<qqqB")
        files.append(_File(at, size, packed, kind, _read_text(stream).decode()))
    return _Manifest((major, minor), identity, special, tuple(files))


def _read_text(stream: io.BytesIO) -> bytes:
    """Length in groups of seven bits, the lowest first, then the text."""
    length = shift = 0
    while (byte := stream.read(1)[0]) & 0x80:
        length |= (byte & 0x7F) << shift
        shift += 7
    return stream.read(length | byte << shift)


def _text(text: bytes) -> bytes:
    length, written = len(text), b""
    while length >= 0x80:
        written += bytes([length & 0x7F | 0x80])
        length >>= 7
    return written + bytes([length]) + text


def _with_main(bundle: bytes, manifest: _Manifest, main: bytes) -> bytes:
    """The host, the files that are kept, the main assembly in place of the other, and the manifest of all that."""
    made = bytearray(bundle[: min(file.at for file in manifest.files)])
    moved: dict[int, int] = {}
    files = []
    for file in manifest.files:
        if file.name.startswith(_LEFT_OUT):
            continue
        stored = bundle[file.at : file.at + (file.packed or file.size)]
        if file.name == _MAIN:
            stored, file = main, replace(file, size=len(main), packed=0)
        alignment = _PAGE if file.kind == _ASSEMBLY and not file.packed else 16
        made += bytes(-len(made) % alignment)
        moved[file.at] = len(made)
        files.append(replace(file, at=len(made)))
        made += stored
    start = len(made)
    made += struct.pack("<IIi", *manifest.version, len(files)) + _text(manifest.identity)
    made += struct.pack("<5q", *(moved.get(number, number) for number in manifest.special))
    for file in files:
        made += struct.pack("<qqqB", file.at, file.size, file.packed, file.kind) + _text(file.name.encode())
    mark = made.index(_MARK)
    made[mark - 8 : mark] = struct.pack("<q", start)
    return bytes(made)
