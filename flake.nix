{
  description = "The model behind Claude Code, as an OpenAI-compatible API on localhost";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      # The version of `ccproxy/__init__.py`, which hatch reads, too.
      version = builtins.head (builtins.match ".*__version__ = \"([^\"]+)\".*"
        (builtins.readFile ./ccproxy/__init__.py));
      package = pkgs: pkgs.python3Packages.buildPythonApplication {
        pname = "ccproxy-server";
        inherit version;
        pyproject = true;
        src = self;
        build-system = [ pkgs.python3Packages.hatchling ];
        dependencies = with pkgs.python3Packages; [
          alembic
          attrs
          cryptography
          h11
          jsonschema
          jsonschema-specifications
          klein
          msgspec
          prometheus-client
          sqlalchemy
          referencing
          twisted
          typing-extensions
          werkzeug
          wsproto
          zope-interface
        ] ++ pkgs.python3Packages.twisted.optional-dependencies.tls;
        # They want the CLI, which is not in this package.
        doCheck = false;
        meta.mainProgram = "ccproxy";
      };
    in
    {
      packages = nixpkgs.lib.genAttrs systems (system: {
        default = package nixpkgs.legacyPackages.${system};
      });

      nixosModules.default = { lib, pkgs, ... }: {
        imports = [ ./contrib/nixos/module.nix ];
        services.ccproxy.package = lib.mkDefault (package pkgs);
      };
    };
}
