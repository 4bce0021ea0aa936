#!/usr/bin/env bash
# Readies this machine for `cargo build -p experiments --features cuda`, which needs LLVM but no CUDA toolkit.
#
# cubecl compiles kernels with LLVM. Its build script downloads a bundle of LLVM 23.1, unless the folder that it unpacks
# the bundle to says that it is installed. This script fills that folder with Debian's or Ubuntu's LLVM 22 (of
# apt.llvm.org where the distribution has none), so that the build works without that download.
#
#   scripts/devices/cuda_llvm.sh
#   CUDARC_CUDA_VERSION=13000 cargo build -p experiments --features cuda
#
# The folder belongs to one version of cubecl (0.11.3); a newer one asks for another.
set -euo pipefail

llvm=/usr/lib/llvm-22
bundle="${XDG_DATA_HOME:-$HOME/.local/share}/tracel/tracel-llvm-23.1.0-4"
installed="$bundle/.tracel-llvm-installed"
libraries="/usr/lib/$(uname -m)-linux-gnu"

if [ -e "$installed" ]; then
    echo "$bundle is there already"
    exit
fi
if [ ! -x "$llvm/bin/llvm-config" ] || [ ! -e "$llvm/lib/libPolly.a" ] || [ ! -e "$libraries/libzstd.a" ]; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get install -y --no-install-recommends llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev
fi

mkdir -p "$bundle/bin" "$bundle/lib"
ln -sf "$llvm"/lib/lib*.a "$libraries/libz.a" "$libraries/libzstd.a" "$bundle/lib/"

# The build asks only this program what to link. Debian's own answers with paths that the build cannot use
# (`--system-libs` names the file libz3.so), and lists every target of LLVM where two are needed.
cat > "$bundle/bin/llvm-config" <<END
#!/bin/sh
parts="core support analysis passes ipo linker irreader bitreader bitwriter asmparser asmprinter target codegen
    nvptx x86 orcjit mcjit executionengine interpreter"
for argument; do
    case \$argument in
        --libs) echo "\$($llvm/bin/llvm-config --link-static --libs \$parts) -lzstd -lz"; exit ;;
        --system-libs) echo "-lrt -ldl -lm"; exit ;;
        --libdir) echo "$bundle/lib"; exit ;;
        --version) echo 23.1.0; exit ;;
    esac
done
exec $llvm/bin/llvm-config "\$@"
END
chmod +x "$bundle/bin/llvm-config"
touch "$installed"
echo "LLVM for cubecl stands in $bundle"
