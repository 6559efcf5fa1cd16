// Command runc-lean is runc for machines that lack CAP_SYS_RESOURCE (some virtual machines take it away): there, runc
// can neither give a container that capability, which privileged ones ask for, nor lower an OOM score. It takes both
// out of what runc is about to read, then becomes runc. Where the machine has the capability it changes nothing.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	capability = "CAP_SYS_RESOURCE"
	number     = 24 // of that capability: linux/capability.h
	capBsetGet = 23 // PR_CAPBSET_READ: linux/prctl.h
)

// process is what is changed of a process in an OCI bundle; all else is kept as it came.
type process map[string]any

func (p process) trim() {
	capabilities, _ := p["capabilities"].(map[string]any)
	for set, names := range capabilities {
		list, _ := names.([]any)
		capabilities[set] = slices.DeleteFunc(list, func(name any) bool { return name == capability })
	}
	if score, given := p["oomScoreAdj"].(float64); given && score < 0 {
		p["oomScoreAdj"] = 0
	}
}

// rewrite trims the process that a JSON file is, or holds under key.
func rewrite(path, key string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]any
	if err := json.Unmarshal(raw, &document); err != nil {
		return err
	}
	inner := document
	if key != "" {
		inner, _ = document[key].(map[string]any)
	}
	process(inner).trim()
	out, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o600)
}

// option is the value of the first of names among args: "--name value" or "--name=value".
func option(args []string, names ...string) string {
	for i, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		if slices.Contains(names, name) {
			if joined {
				return value
			}
			if i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return ""
}

func trim(args []string) error {
	switch {
	case slices.Contains(args, "create") || slices.Contains(args, "run"):
		return rewrite(filepath.Join(option(args, "--bundle", "-b"), "config.json"), "process")
	case slices.Contains(args, "exec"):
		if path := option(args, "--process", "-p"); path != "" {
			return rewrite(path, "")
		}
	}
	return nil
}

func main() {
	held, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, capBsetGet, number, 0)
	if held != 1 {
		if err := trim(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "runc-lean:", err)
			os.Exit(1)
		}
	}
	runc, err := exec.LookPath("runc")
	if err == nil {
		err = syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "runc-lean:", err)
	os.Exit(1)
}
