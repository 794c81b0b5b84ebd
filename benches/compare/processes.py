"""CPU time and memory of a process, from /proc (Linux)."""

import os


class Process:
    def __init__(self, pid):
        self.pid = pid
        self.tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
        self.cpu_ms()

    def cpu_ms(self):
        """User and system time of all its threads so far, also of those that ended."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            # the name, in parentheses, may hold anything
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * self.tick_ms

    def reset_peak(self):
        """Lets the peak of memory begin anew. Whether that was allowed."""
        try:
            with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as refs:
                refs.write("5")
            return True
        except OSError:
            return False

    def peak_bytes(self):
        """Most resident memory since the start, or since the peak was reset."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None


def pid_of_port(port):
    """The process that listens on a local TCP port, if there is one and it may be looked at."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as lines:
                for line in list(lines)[1:]:
                    fields = line.split()
                    # 0A: listening
                    if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                        inodes.add(f"socket:[{fields[9]}]")
        except OSError:
            continue
    for pid in filter(str.isdigit, os.listdir("/proc")) if inodes else ():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in inodes:
                    return int(pid)
        except OSError:
            continue
    return None
