# SPDX-License-Identifier: LGPL-2.1-or-later
# The front door. Meson does the building; this file knows which of its builds is for what.

BUILD ?= build
PREFIX ?= /usr/local
# below PREFIX; Meson's own guess depends on what else is installed
LIBDIR ?= lib
FUZZ_SECONDS ?= 30
BENCH ?= all

all: setup
	@ninja -C $(BUILD)

help:
	@echo 'make               build into $(BUILD)/ (needs the packages that scripts/deps.sh names)'
	@echo 'make demo          install what is missing, build, hand a loaded server over three times'
	@echo '                   (ARGS="--size 1G --plot demo.png" for options of memferry demo)'
	@echo 'make check         install what is missing, build plain and with sanitizers, run all tests'
	@echo '                   (T=NAME: one test; STRICT=1: a skipped test is a failed one)'
	@echo 'make bench         the measurements, as tables (BENCH=fault, bulk, handover or all;'
	@echo '                   ARGS="--quick" or other options of memferry bench)'
	@echo 'make install       into PREFIX ($(PREFIX)), LIBDIR ($(LIBDIR)), below DESTDIR'
	@echo 'make lint          clang-format, clang-tidy, cppcheck'
	@echo 'make fuzz          libFuzzer over the wire decoder for FUZZ_SECONDS ($(FUZZ_SECONDS)) each'
	@echo 'make tsan          the tests that have threads but no ferry tasks, under ThreadSanitizer'
	@echo 'make clean         remove the build directories'

setup:
	@scripts/deps.sh --check build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix $(PREFIX) --libdir $(LIBDIR)

demo:
	@scripts/deps.sh build demo
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix $(PREFIX) --libdir $(LIBDIR)
	@ninja -C $(BUILD)
	@$(BUILD)/memferry demo $(ARGS)

check:
	@scripts/deps.sh build demo check
	@BUILD=$(BUILD) T='$(T)' STRICT='$(STRICT)' scripts/check.sh

bench: all
	@$(BUILD)/memferry bench $(BENCH) $(ARGS)

install: setup
	@meson configure $(BUILD) -Dprefix=$(PREFIX) -Dlibdir=$(LIBDIR)
	@ninja -C $(BUILD)
	@meson install -C $(BUILD) --no-rebuild
	@test -n "$(DESTDIR)" || ldconfig || echo 'make install: run ldconfig as root'

lint:
	@scripts/deps.sh build check lint
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix $(PREFIX) --libdir $(LIBDIR)
	@BUILD=$(BUILD) scripts/lint.sh

fuzz:
	@scripts/deps.sh build fuzz
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh

# A task shares memory with a process that ThreadSanitizer takes for another one, so only
# tests without tasks mean anything under it.
tsan:
	@scripts/deps.sh build check
	@test -f build-tsan/build.ninja || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false
	@ninja -C build-tsan
	@meson test -C build-tsan --no-rebuild fail fdpass maps crc32c frame msg mover ring bench-hist

clean:
	rm -rf $(BUILD) build-asan build-fuzz build-tsan

.PHONY: all help setup demo check bench install lint fuzz tsan clean
