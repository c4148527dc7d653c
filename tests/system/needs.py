"""What this machine must have for the system test, and what it lacks, in words for whoever wonders about a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "dh_python3": "dh-python",
}
"""Command to the Debian package that has it."""

CGROUPS = Path("/sys/fs/cgroup")


def what_is_missing() -> str:
    """The reason why containers cannot be booted here; empty if they can."""
    if os.getuid() != 0:
        return "the system test boots containers, and only root may do so"
    packages = sorted(
        {package for tool, package in TOOLS.items() if not shutil.which(tool, path=search_path())}
    )
    if packages:
        return f"not installed: {' '.join(packages)}"
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        loaded = subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
        if loaded.returncode != 0:
            return "this kernel has no overlay file system"
    if cgroup2() is None:
        return "no cgroup2 hierarchy is mounted, or it is read-only"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"namespaces cannot be made here: {tried.stderr.strip()}"


def search_path() -> str:
    """Where tools of the system are: a user's PATH may lack /usr/sbin, and may have an interpreter of its own."""
    return "/usr/sbin:/usr/bin:/sbin:/bin"


def cgroup2() -> Path | None:
    """The root of the unified hierarchy, if a group can be made there."""
    for root in (CGROUPS, CGROUPS / "unified"):
        if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists():
            return root if os.access(root, os.W_OK) and not _read_only(root) else None
    return None


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
